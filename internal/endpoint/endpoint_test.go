package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	s := w.start(nil)
	k := testKey(t, "key.", tsig.HMACSHA256)
	for name, ask := range map[string]func(testing.TB, netip.AddrPort, []byte) []byte{"udp": udpAsk, "tcp": tcpAsk} {
		t.Run(name, func(t *testing.T) {
			plain := updateMsg(t, "example.test.", "h.example.test.", withEDNS)
			signed := tsig.SignRequest(append([]byte(nil), plain...), k, time.Now())
			reply := ask(t, s.Addrs()[0], signed)
			if rcodeOf(reply) != 0 {
				t.Fatalf("RCODE %d", rcodeOf(reply))
			}
			if err := tsig.VerifyResponse(reply, signed, k, time.Now()); err != nil {
				t.Error(err)
			}
			m := unpack(t, reply)
			if len(m.Question) != 1 || m.Question[0].Name != "example.test." || m.Opcode != dns.OpcodeUpdate || m.Truncated {
				t.Errorf("reply %v", m)
			}
			us := w.updates()
			u := us[len(us)-1]
			if string(u.Wire) != string(plain) {
				t.Errorf("the log gets % x,\nwant % x", u.Wire, plain)
			}
			if u.KeyName != k.Name || u.KeyVersion != 1 || u.TCP != (name == "tcp") || !u.AddrProven || u.DeadlineMS == 0 {
				t.Errorf("proposed %+v", u)
			}
		})
	}
}

// TestFingerprint defends I4: what an attacker can vary of a signed request does
// not make it a new one.
func TestFingerprint(t *testing.T) {
	w := newWorld(t)
	s := w.start(nil)
	k := testKey(t, "key.", tsig.HMACSHA256)
	signed := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), k, time.Now())
	udpAsk(t, s.Addrs()[0], signed)
	udpAsk(t, s.Addrs()[0], withID(signed, 1))
	tcpAsk(t, s.Addrs()[0], withID(signed, 2))
	udpAsk(t, s.Addrs()[0], append(append([]byte(nil), signed...), "trailing"...))
	us := w.updates()
	if len(us) != 4 {
		t.Fatalf("%d updates", len(us))
	}
	for _, u := range us[1:] {
		if u.Fingerprint != us[0].Fingerprint || string(u.Wire) != string(us[0].Wire) {
			t.Errorf("another fingerprint or message: %+v", u)
		}
	}
	udpAsk(t, s.Addrs()[0], tsig.SignRequest(updateMsg(t, "example.test.", "i.example.test."), k, time.Now()))
	if us = w.updates(); us[4].Fingerprint == us[0].Fingerprint {
		t.Error("another request has the same fingerprint")
	}
}

// TestOutcomes: what the Writer says is what the client hears (D6).
func TestOutcomes(t *testing.T) {
	k := testKey(t, "key.", tsig.HMACSHA256)
	for _, tc := range []struct {
		name   string
		res    fsm.Result
		err    error
		silent bool
		rcode  int
		ede    int
		tsig   uint16
	}{
		{name: "applied", rcode: 0, ede: -1},
		{name: "refused", res: fsm.Result{RCode: 5, EDE: 18, Text: "the policy says no"}, rcode: 5, ede: 18},
		{name: "prerequisite", res: fsm.Result{RCode: 8}, rcode: 8, ede: -1},
		{name: "revoked meanwhile", res: fsm.Result{RCode: 9, TSIGError: tsig.BadKey, Text: "revoked"}, rcode: 9, ede: 0, tsig: tsig.BadKey},
		{name: "below the floor", res: fsm.Result{RCode: 9, TSIGError: tsig.BadTime, Text: "sign anew"}, rcode: 9, ede: 0, tsig: tsig.BadTime},
		{name: "expired", res: fsm.Result{Expired: true}, rcode: 2, ede: 0},
		{name: "proven not applied", err: fmt.Errorf("x: %w", errTestOverloaded), rcode: 2, ede: 14},
		{name: "in doubt", err: errTestInDoubt, silent: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.write = func(_ *fsm.Update, done func(fsm.Result, error)) { go done(tc.res, tc.err) }
			s := w.start(nil)
			signed := tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test.", withEDNS), k, time.Now())
			if tc.silent {
				// The next request is answered, this one was not.
				c := tcpDial(t, s.Addrs()[0])
				tcpSend(t, c, signed)
				tcpSend(t, c, withID(queryMsg(t, "elsewhere.", dns.TypeA), 77))
				if got := unpack(t, tcpRead(t, c)); got.Id != 77 {
					t.Errorf("an update in doubt was answered: %v", got)
				}
				return
			}
			reply := udpAsk(t, s.Addrs()[0], signed)
			if rcodeOf(reply) != tc.rcode {
				t.Errorf("RCODE %d", rcodeOf(reply))
			}
			if ede, text := edeOf(t, reply); ede != tc.ede {
				t.Errorf("EDE %d %q", ede, text)
			}
			err := tsig.VerifyResponse(reply, signed, k, time.Now())
			var e *tsig.ResponseError
			switch {
			case tc.tsig == 0 && err != nil:
				t.Error(err)
			case tc.tsig != 0 && (!errors.As(err, &e) || e.TSIGError != tc.tsig || e.Signed == (tc.tsig == tsig.BadKey)):
				t.Errorf("TSIG: %v", err)
			}
		})
	}
}

// TestSecondLook defends C6: a key, zone or grant that was acknowledged elsewhere
// counts, though it has not arrived here yet.
func TestSecondLook(t *testing.T) {
	late := testKey(t, "late.", tsig.HMACSHA256)
	z := testZone(t, "example.test.", "late")
	for _, tc := range []struct {
		name string
		zone string
		news func(*testSettings)
		want int // when the news do not come
	}{
		{"key", "example.test.", func(s *testSettings) { s.Ring[late.Name] = []tsig.Key{late}; s.zones[z.ID.Name] = z }, 9},
		{"secret", "example.test.", func(s *testSettings) { s.Ring[late.Name] = []tsig.Key{late}; s.zones[z.ID.Name] = z }, 9},
		{"zone", "new.test.", func(s *testSettings) {
			s.Ring[late.Name] = []tsig.Key{late}
			n := testZone(t, "new.test.", "late")
			s.zones[n.ID.Name] = n
		}, 9},
	} {
		for _, via := range []string{"udp", "tcp"} {
			t.Run(tc.name+"/"+via, func(t *testing.T) {
				w := newWorld(t)
				if tc.name == "secret" {
					old := late
					old.Secret = []byte("older")
					prepared, err := tsig.NewKey(old)
					if err != nil {
						t.Fatal(err)
					}
					w.set(func(s *testSettings) { s.Ring[late.Name] = []tsig.Key{prepared} })
				}
				s := w.start(nil)
				ask := udpAsk
				if via == "tcp" {
					ask = tcpAsk
				}
				signed := tsig.SignRequest(updateMsg(t, tc.zone, "h."+tc.zone), late, time.Now())
				if got := rcodeOf(ask(t, s.Addrs()[0], signed)); got != tc.want {
					t.Errorf("before: RCODE %d, want %d", got, tc.want)
				}
				if w.refreshes.Load() == 0 {
					t.Error("refused without a second look")
				}
				w.mu.Lock()
				w.refresh = func(context.Context) error { w.set(tc.news); return nil }
				w.mu.Unlock()
				reply := ask(t, s.Addrs()[0], signed)
				if err := tsig.VerifyResponse(reply, signed, late, time.Now()); err != nil || rcodeOf(reply) != 0 {
					t.Errorf("after: RCODE %d, %v", rcodeOf(reply), err)
				}
			})
		}
	}
	t.Run("no quorum", func(t *testing.T) {
		w := newWorld(t)
		w.refresh = func(context.Context) error { return errors.New("no quorum") }
		s := w.start(nil)
		reply := udpAsk(t, s.Addrs()[0], tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test.", withEDNS), late, time.Now()))
		if ede, _ := edeOf(t, reply); rcodeOf(reply) != 2 || ede != 14 {
			t.Errorf("RCODE %d, EDE %d", rcodeOf(reply), ede)
		}
	})
}
