package relay

import (
	"net/netip"
	"testing"
	"time"
)

// FuzzExchange runs events that the input spells, two octets each, against an exchange with few IDs: whatever comes, what it
// knows stays consistent, nothing is kept for ever, and nobody gets an answer under another ID or to another request.
func FuzzExchange(f *testing.F) {
	f.Add([]byte("\x00\x00\x10\x00\x30\x00\x50\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x40\x02\x60\x7f\x10\x01\x70\x00\x20\x01\x60\xff\x30\x01"))
	f.Add([]byte("\x10\x00\x60\x3f\x30\x12\x40\x00\x50\x00\x10\x00\x60\xff\x60\xff\x20\x00"))
	unsigned, signed := numbered(updateMsg(f, string(serialMark))), numbered(signedUpdate(f, string(serialMark)))
	query := numbered(queryMsg(f, string(serialMark)+".example.test."))
	names := [...]string{"a", "b", "c"}
	f.Fuzz(func(t *testing.T, script []byte) {
		w := newWorld(t, func(c *Config) {
			c.Limits.Pending, c.Limits.PendingPerAddress, c.Limits.Addresses = 40, 20, 2
		})
		w.ids = 16
		tiers := map[string]uint8{"a": 0, "b": 0}
		w.primaries(tiers)
		asked := map[netip.AddrPort]map[uint16]bool{} // what clients wait for, or have waited for
		for ; len(script) >= 2; script = script[2:] {
			op, arg := script[0], script[1]
			before := len(w.replies)
			switch op >> 4 {
			case 0, 1, 2: // a request; arg: which, from whom
				msg := [...]func(uint64) []byte{query, signed, unsigned}[op>>4](numberTag<<56 | uint64(arg&0xf))
				from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, arg >> 4 & 3}), uint16(arg>>6))
				if asked[from] == nil {
					asked[from] = map[uint16]bool{}
				}
				asked[from][messageID(msg)] = true
				w.request(from, msg)
			case 3, 4: // an answer
				if n := len(w.asks); n > 0 {
					w.answer(int(arg)%n, op&0xf)
				}
			case 5: // one that nobody has asked for
				if l := w.lines[names[int(arg)%len(names)]]; l != nil {
					w.x.answer(w.now, l, answerTo(unsigned(uint64(arg)), op&0xf))
					w.flush()
				}
			case 6:
				w.wait(time.Duration(arg) * 20 * time.Millisecond)
			case 7:
				if l := w.lines[names[int(arg)%len(names)]]; l != nil {
					w.x.refused(w.now, l)
					w.flush()
				}
			case 8:
				if n := len(w.asks); n > 0 {
					a := w.asks[n-1]
					w.asks = w.asks[:n-1]
					w.x.unsent(w.now, a.line, a.id)
					w.flush()
				}
			default:
				if tiers[names[int(arg)%len(names)]] = op & 3; op&3 == 3 {
					delete(tiers, names[int(arg)%len(names)])
				}
				w.primaries(tiers)
			}
			for _, r := range w.replies[before:] {
				if !asked[r.to][messageID(r.msg)] || !isResponse(r.msg) {
					t.Fatalf("%v gets ID %d, which it has not asked", r.to, messageID(r.msg))
				}
			}
			w.check()
		}
		w.wait(w.cfg.Retry.Forget + lingerTime)
		for _, l := range w.lines {
			l.collect(w.now)
			if l.inUse > 0 {
				t.Fatalf("%s has %d IDs that never come back", l.name, l.inUse)
			}
		}
		if n := w.x.shared.pending.Load(); n != 0 {
			t.Fatalf("%d requests are never forgotten", n)
		}
		if n := len(w.x.shared.doubts.open); n != 0 {
			t.Fatalf("%d doubts are never closed", n)
		}
		for _, k := range append(w.x.shared.buckets.ring, &w.x.shared.buckets.shared) {
			if k.pending != 0 {
				t.Fatalf("%v waits for %d requests that are done with", k.addr, k.pending)
			}
		}
	})
}
