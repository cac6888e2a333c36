package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
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
// once it has a value. It understands literals of prometheus.…Opts, closures that
// put their own parameters into one, and prometheus.NewDesc. A name that is written
// anywhere else is an error: it would be missing.
func metricsOf(t *testing.T, dir string) []metric {
	t.Helper()
	var all []metric
	written := map[string]string{} // names of metrics, and a file that has each
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		all = append(append(all, metricsInFile(t, path, f)...), descsInFile(t, path, f)...)
		for _, name := range namesInFile(f) {
			written[name] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range written {
		if !slices.ContainsFunc(all, func(m metric) bool { return m.name == name }) {
			t.Errorf("%s: the metric %s is made in no form that this test understands", path, name)
		}
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
		m.labels = labels(call.Args[1], args)
	}
	return m, true
}

// descsInFile finds metrics that a collector makes with prometheus.NewDesc, and their
// kinds where it gives them values, by the name of the variable or field that holds
// the description.
func descsInFile(t *testing.T, path string, f *ast.File) []metric {
	t.Helper()
	kinds := map[string]string{} // by holder
	calls := map[string]*ast.CallExpr{}
	hold := func(holder, value ast.Expr) {
		if call, ok := value.(*ast.CallExpr); ok && isPrometheus(call.Fun, "NewDesc") {
			calls[lastName(holder)] = call
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			hold(n.Key, n.Value)
		case *ast.AssignStmt:
			for i, l := range n.Lhs {
				if len(n.Lhs) == len(n.Rhs) {
					hold(l, n.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if len(n.Names) == len(n.Values) {
					hold(name, n.Values[i])
				}
			}
		case *ast.CallExpr:
			if len(n.Args) < 2 || !isPrometheus(n.Fun, "MustNewConstMetric") && !isPrometheus(n.Fun, "NewConstMetric") {
				break
			}
			for value, kind := range map[string]string{"GaugeValue": "gauge", "CounterValue": "counter"} {
				if isPrometheus(n.Args[1], value) {
					kinds[lastName(n.Args[0])] = kind
				}
			}
		}
		return true
	})
	var found []metric
	for holder, call := range calls {
		m := metric{kind: kinds[holder]}
		var ok1, ok2 bool
		if len(call.Args) == 4 {
			m.name, ok1 = text(call.Args[0], nil)
			m.help, ok2 = text(call.Args[1], nil)
			m.labels = labels(call.Args[2], nil)
		}
		if !ok1 || !ok2 || m.kind == "" {
			t.Errorf("%s: name, help or kind of the metric in %s are not written out", path, holder)
		}
		found = append(found, m)
	}
	return found
}

// isPrometheus reports whether e is prometheus.NAME.
func isPrometheus(e ast.Expr, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "prometheus"
}

// lastName is the name of a variable, or of the field that an expression ends in.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

var wholeName = regexp.MustCompile(`^zonekeeper_[a-z0-9_]*[a-z0-9]$`)

// namesInFile finds every string that has the form of a metric's name.
func namesInFile(f *ast.File) []string {
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok {
			if s, ok := text(lit, nil); ok && wholeName.MatchString(s) {
				found = append(found, s)
			}
		}
		return true
	})
	return found
}

func labels(e ast.Expr, args map[string]string) (out []string) {
	l, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	for _, e := range l.Elts {
		if s, ok := text(e, args); ok {
			out = append(out, s)
		}
	}
	return out
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
