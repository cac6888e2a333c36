package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

type metric struct {
	name, kind, help string
	labels           []string
}

// metricsOf reads the metrics from the source: a running primary shows a vector only
// once it has a value. It understands literals of prometheus.…Opts, and closures that
// put their own parameters into one.
func metricsOf(t *testing.T, dir string) []metric {
	t.Helper()
	var all []metric
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		all = append(all, metricsInFile(t, path, f)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return all
}

func metricsInFile(t *testing.T, path string, f *ast.File) []metric {
	var found []metric
	helpers := map[string]*ast.FuncLit{} // closures by the name of their variable
	inHelper := map[*ast.CompositeLit]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok || len(a.Lhs) != 1 || len(a.Rhs) != 1 {
			return true
		}
		fn, ok := a.Rhs[0].(*ast.FuncLit)
		name, isName := a.Lhs[0].(*ast.Ident)
		if !ok || !isName {
			return true
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			if lit, _ := optsIn(n); lit != nil {
				helpers[name.Name] = fn
				inHelper[lit] = true
			}
			return true
		})
		return true
	})
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if id, ok := call.Fun.(*ast.Ident); ok && helpers[id.Name] != nil {
			fn := helpers[id.Name]
			args := map[string]string{}
			i := 0
			for _, p := range fn.Type.Params.List {
				for _, pn := range p.Names {
					if i < len(call.Args) {
						if s, ok := text(call.Args[i], nil); ok {
							args[pn.Name] = s
						}
					}
					i++
				}
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					if m, ok := metricIn(t, path, c, args); ok {
						found = append(found, m)
					}
				}
				return true
			})
			return true
		}
		for _, a := range call.Args {
			if lit, _ := optsIn(a); lit != nil && inHelper[lit] {
				return true
			}
		}
		if m, ok := metricIn(t, path, call, nil); ok {
			found = append(found, m)
		}
		return true
	})
	return found
}

// optsIn recognises prometheus.CounterOpts{…} and its like; kind is "counter" and so on.
func optsIn(n ast.Node) (lit *ast.CompositeLit, kind string) {
	l, ok := n.(*ast.CompositeLit)
	if !ok {
		return nil, ""
	}
	sel, ok := l.Type.(*ast.SelectorExpr)
	if !ok {
		return nil, ""
	}
	if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "prometheus" || !strings.HasSuffix(sel.Sel.Name, "Opts") {
		return nil, ""
	}
	return l, strings.ToLower(strings.TrimSuffix(sel.Sel.Name, "Opts"))
}

// metricIn reads a call such as prometheus.NewCounterVec(Opts{…}, []string{…}).
func metricIn(t *testing.T, path string, call *ast.CallExpr, args map[string]string) (metric, bool) {
	t.Helper()
	if len(call.Args) == 0 {
		return metric{}, false
	}
	lit, kind := optsIn(call.Args[0])
	if lit == nil || kind == "handler" {
		return metric{}, false
	}
	m := metric{kind: kind}
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, ok := kv.Key.(*ast.Ident)
		if !ok || (key.Name != "Name" && key.Name != "Help") {
			continue
		}
		s, ok := text(kv.Value, args)
		if !ok {
			t.Errorf("%s: the %s of a metric is not written out", path, key.Name)
		}
		if key.Name == "Name" {
			m.name = s
		} else {
			m.help = s
		}
	}
	if len(call.Args) > 1 {
		if l, ok := call.Args[1].(*ast.CompositeLit); ok {
			for _, e := range l.Elts {
				if s, ok := text(e, args); ok {
					m.labels = append(m.labels, s)
				}
			}
		}
	}
	return m, true
}

// text evaluates string literals, their sums, and parameters.
func text(e ast.Expr, args map[string]string) (string, bool) {
	switch v := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(v.Value)
		return s, err == nil
	case *ast.Ident:
		s, ok := args[v.Name]
		return s, ok
	case *ast.BinaryExpr:
		a, ok1 := text(v.X, args)
		b, ok2 := text(v.Y, args)
		return a + b, ok1 && ok2 && v.Op == token.ADD
	}
	return "", false
}
