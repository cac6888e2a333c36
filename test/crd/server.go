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

// definition is one CustomResourceDefinition as an API server has it.
type definition struct {
	kind       string
	structural *schema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

// load reads a CustomResourceDefinition, and fails as an API server would when it is created.
func load(path string) (*definition, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
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
	d := &definition{kind: v1.Spec.Names.Kind}
	if d.structural, err = schema.NewStructural(props.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	if d.schema, _, err = validation.NewSchemaValidator(props.OpenAPIV3Schema); err != nil {
		return nil, err
	}
	d.rules = cel.NewValidator(d.structural, true, celconfig.PerCallLimit)
	return d, nil
}

// admit is what becomes of an object that somebody sends: with defaults, or refused. old is nil at its creation.
func (d *definition) admit(object, old map[string]any) (map[string]any, error) {
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
