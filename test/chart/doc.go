// Package chart tests the Helm chart as its users meet it: rendered by Helm itself, with their values, against the API's own types, Kubernetes'
// definition of restricted pods and the operator's list of its rights. It also writes what is generated from the chart.
package chart
