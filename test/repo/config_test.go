package repo

import (
	"encoding"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/front"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
)

// Every field of a configuration file is in its table, with its default, and the tables have no other fields.
func TestConfigurationsAreDocumented(t *testing.T) {
	for _, tc := range []struct {
		name, page, section string
		config              any
	}{
		{"primary", "docs/operations.md", "\n## A primary\n", primary.DefaultConfig()},
		{"secondary", "docs/operations.md", "\n## A secondary\n", secondary.DefaultConfig()},
		{"front", "docs/front.md", "\n# ", front.DefaultConfig()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, text, ok := strings.Cut("\n"+read(t, tc.page), tc.section)
			if !ok {
				t.Fatalf("%s has no section %q", tc.page, tc.section)
			}
			documented := fieldTable(t, text)
			fields := fieldsOf(t, reflect.ValueOf(tc.config), "")
			for _, f := range fields {
				def, ok := documented[f.name]
				if !ok {
					t.Errorf("%s does not have the field %s", tc.page, f.name)
				} else if !strings.Contains(def, strings.TrimSuffix(f.def, ".")) {
					t.Errorf("%s: the default of %s is %q, the table says %q", tc.page, f.name, f.def, def)
				}
			}
			for name := range documented {
				if !slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
					t.Errorf("%s has the field %s, which the configuration does not have", tc.page, name)
				}
			}
		})
	}
}

// field is one of a configuration, by the names that lead to it in the file.
type field struct {
	name string
	def  string // a text or a duration that it has by default; "" for none, and for what tables write in their own way
}

// fieldsOf lists the fields of a struct. A list, a map, and what has a text form of its own are one field.
func fieldsOf(t *testing.T, v reflect.Value, prefix string) (out []field) {
	t.Helper()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			t.Errorf("%s.%s has no name in the file", v.Type(), v.Type().Field(i).Name)
			continue
		}
		name = prefix + name
		value := v.Field(i)
		if value.Kind() == reflect.Pointer { // a part that may be missing
			value = reflect.New(value.Type().Elem()).Elem()
		}
		_, text := value.Interface().(encoding.TextMarshaler)
		_, own := value.Interface().(json.Marshaler)
		if value.Kind() == reflect.Struct && !text && !own {
			out = append(out, fieldsOf(t, value, name+".")...)
			continue
		}
		f := field{name: name}
		if (value.Kind() == reflect.String || text || own) && !value.IsZero() {
			b, err := json.Marshal(value.Interface())
			if err == nil {
				err = json.Unmarshal(b, &f.def)
			}
			if err != nil {
				t.Errorf("the default of %s: %v", name, err)
			}
		}
		out = append(out, f)
	}
	return out
}

// fieldTable reads the first table of a text whose first column is "field": what is in it, and the row's default. A name that
// begins with a point, anywhere in the row, has the parents of the one before it.
func fieldTable(t *testing.T, text string) map[string]string {
	t.Helper()
	_, text, ok := strings.Cut(text, "\n| field |")
	if !ok {
		t.Fatal("there is no table of fields")
	}
	head, text, _ := strings.Cut(text, "\n")
	column := slices.Index(cells("| field |"+head), "default")
	quoted := regexp.MustCompile("`([^`]+)`")
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		row := cells(line)
		if len(row) <= column || strings.HasPrefix(row[0], "---") {
			continue
		}
		parent := ""
		for i, cell := range row {
			for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
				switch name := m[1]; {
				case strings.HasPrefix(name, "."):
					out[parent+name] = row[column]
				case i == 0:
					out[name] = row[column]
					parent = name[:max(0, strings.LastIndexByte(name, '.'))]
				}
			}
		}
	}
	return out
}

// cells are the columns of a table's line.
func cells(line string) []string {
	all := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}
