// Package crd checks the CustomResourceDefinitions with the code by which the Kubernetes API server judges objects: schema, defaults, CEL rules and
// their cost. Examples of accepted and rejected objects, with their messages, are in testdata.
package crd
