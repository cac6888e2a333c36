package crd

import (
	"context"
	"fmt"
	"os"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// Definition is one CustomResourceDefinition as an API server has it.
type Definition struct {
	Kind       string
	structural *schema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

// Load reads a CustomResourceDefinition from a file, and fails as an API server would when it is created.
func Load(path string) (*Definition, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// Parse is Load for a text.
func Parse(text []byte) (*Definition, error) {
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &v1); err != nil {
		return nil, err
	}
	apiextensionsv1.SetObjectDefaults_CustomResourceDefinition(&v1)
	v1.Status.StoredVersions = []string{v1.Spec.Versions[0].Name} // as its create strategy does
	var internal apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &internal, nil); err != nil {
		return nil, err
	}
	if errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), &internal); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	// With one version the conversion has put its schema in front of all.
	props := internal.Spec.Validation
	if props == nil {
		props = internal.Spec.Versions[0].Schema
	}
	d := &Definition{Kind: v1.Spec.Names.Kind}
	var err error
	if d.structural, err = schema.NewStructural(props.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	if d.schema, _, err = validation.NewSchemaValidator(props.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	d.rules = cel.NewValidator(d.structural, true, celconfig.PerCallLimit)
	return d, nil
}

// Admit is what becomes of an object that somebody sends: with defaults, or refused. old is nil at its creation. Both are as JSON is decoded.
func (d *Definition) Admit(object, old map[string]any) (map[string]any, error) {
	wholeNumbers(object)
	unknown := pruning.PruneWithOptions(object, d.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 { // as kubectl asks for: strict
		return nil, fmt.Errorf("unknown field %s", strings.Join(unknown, ", "))
	}
	defaulting.Default(object, d.structural)
	var errs field.ErrorList
	if old == nil {
		errs = validation.ValidateCustomResource(nil, object, d.schema)
	} else {
		errs = validation.ValidateCustomResourceUpdate(nil, object, old, d.schema)
	}
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, d.structural, object)...)
	if len(errs) > 0 { // rules are not looked at then
		return nil, errs.ToAggregate()
	}
	var before any
	if old != nil {
		before = old
	}
	errs, _ = d.rules.Validate(context.Background(), nil, d.structural, object, before, celconfig.RuntimeCELCostBudget)
	return object, errs.ToAggregate()
}

// wholeNumbers gives them the type that the API server's decoder gives them.
func wholeNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = wholeNumbers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = wholeNumbers(x)
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}
