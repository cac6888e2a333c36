package zone

import "testing"

func TestSmoke(t *testing.T) {
	z := New(MustParseName("example.test."))
	for _, s := range []string{
		"example.test. 300 IN SOA ns1.example.test. host.example.test. 1 2 3 4 5", "example.test. 300 IN NS ns1.example.test.",
		"a.example.test. 60 IN A 192.0.2.1", "a.example.test. 60 IN A 192.0.2.2",
		"A.example.test. 60 IN TXT \"x y\" \"z\\\"\"",
	} {
		rr, err := ParseRR(s)
		if err != nil {
			t.Fatal(err)
		}
		z.Apply(Diff{Add: []RR{rr}})
	}
	for _, rr := range z.RRs() {
		t.Log(rr)
	}
	if DigestRRs(z.RRs()) != z.Digest() || z.Records() != 5 {
		t.Fatal("digest")
	}
	before := z.Digest()
	tx := z.Begin()
	tx.Remove(MustParseName("a.example.test"), TypeA)
	t.Log(tx.Diff())
	tx.Rollback()
	if z.Digest() != before || DigestRRs(z.RRs()) != before {
		t.Fatal("rollback")
	}
}
