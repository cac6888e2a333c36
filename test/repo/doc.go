// Package repo holds the rules of the repository itself as tests: the layers, the
// READMEs in two languages, paths that documents name, and generated pages.
package repo
