package zone

import (
	"math/rand/v2"
	"testing"
)

// TestStringOfAnything prints RRs whose RDATA nobody has checked, as a log line about a message may: it has to come out
// somehow.
func TestStringOfAnything(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 20000 {
		data := make([]byte, rng.IntN(24))
		for i := range data {
			data[i] = byte(rng.IntN(256) >> rng.IntN(8)) // small octets are lengths
		}
		rr := RR{Name: Root, Type: Type(n % 270), Class: ClassIN, Data: string(data)}
		if rr.String() == "" {
			t.Fatalf("%s %x prints as nothing", rr.Type, data)
		}
	}
}
