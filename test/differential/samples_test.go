package differential

import "testing"

// TestSamples makes RRs from every sample; a bad one panics.
func TestSamples(t *testing.T) {
	spec := Specs(1)[0]
	g := NewGenerator(1, spec, Content(spec.Origin, 1))
	for _, m := range g.mnemonics {
		for range 40 {
			g.rr(g.inside(), m)
		}
	}
}
