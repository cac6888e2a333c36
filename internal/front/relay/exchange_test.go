package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// TestExchange: who is asked when, and what the client gets, in words. Run with -rewrite to record what they give now. Commands:
//
//	new [hedges=N] [budget=N] [per-address=N] [pending=N]     forgets everything; budget is in requests
//	primaries NAME=TIER…                                      tier 0: ready, 1: alive, 2: down
//	query|update|signed NAME [from=ADDR:PORT] [id=N]          a client sends; the same NAME is the same octets
//	answer PRIMARY NAME [RCODE]                               to the first of its messages that it has not answered
//	refused PRIMARY                                           ICMP says so
//	unsent PRIMARY NAME                                       the kernel does not take what was last asked
//	wait DURATION
//	counters
func TestExchange(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{t: t, world: newWorld(t, nil), messages: map[string][]byte{}}
		datadriven.RunTest(t, path, s.run)
	})
}

// maybe scans an argument, if it is there.
func maybe(t *testing.T, d *datadriven.TestData, key string, to any) bool {
	if d.HasArg(key) {
		d.ScanArgs(t, key, to)
		return true
	}
	return false
}

type script struct {
	*world
	t        *testing.T
	messages map[string][]byte
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	s.events = []string{}
	start := s.now
	switch d.Cmd {
	case "new":
		s.world = newWorld(t, func(c *Config) {
			maybe(t, d, "hedges", &c.Retry.Max)
			maybe(t, d, "pending", &c.Limits.Pending)
			maybe(t, d, "per-address", &c.Limits.PendingPerAddress)
			if budget := -1; maybe(t, d, "budget", &budget) {
				c.Retry.Budget, c.Retry.PerSecond = 0, float64(budget)/savings
			}
		})
		s.messages = map[string][]byte{}
		return ""
	case "primaries":
		tiers := map[string]uint8{}
		for _, a := range d.CmdArgs {
			var tier uint8
			if _, err := fmt.Sscan(a.Vals[0], &tier); err != nil {
				d.Fatalf(t, "%v", err)
			}
			tiers[a.Key] = tier
		}
		s.primaries(tiers)
	case "query", "update", "signed":
		name, from, id := d.CmdArgs[0].Key, "192.0.2.1:1000", 1
		maybe(t, d, "from", &from)
		maybe(t, d, "id", &id)
		msg := slices.Clone(s.message(d.Cmd, name))
		setMessageID(msg, uint16(id))
		s.request(addrPort(from), msg)
	case "answer":
		rcode := byte(0)
		if len(d.CmdArgs) == 3 {
			rcode = map[string]byte{"NOERROR": 0, "SERVFAIL": rcodeServFail, "REFUSED": 5, "YXRRSET": rcodeYXRRSet, "NOTAUTH": 9}[d.CmdArgs[2].Key]
		}
		i := slices.IndexFunc(s.asks, s.of(d))
		if i < 0 {
			d.Fatalf(t, "it was not asked")
		}
		s.answer(i, rcode)
	case "refused":
		s.x.refused(s.now, s.lines[d.CmdArgs[0].Key])
		s.flush()
	case "unsent":
		i := len(s.asks) - 1
		if i < 0 || !s.of(d)(s.asks[i]) {
			d.Fatalf(t, "it was not asked last")
		}
		a := s.asks[i]
		s.asks = s.asks[:i]
		s.x.unsent(s.now, a.line, a.id)
		s.flush()
	case "wait":
		length, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		for end := s.now.Add(length); ; { // event by event, so that each has its time
			next := s.x.next()
			if next.IsZero() || next.After(end) {
				s.now = end
				break
			}
			n := len(s.events)
			s.wait(next.Sub(s.now))
			for i := range s.events[n:] {
				s.events[n+i] = fmt.Sprintf("+%v: %s", s.now.Sub(start), s.events[n+i])
			}
		}
	case "counters":
		return s.counters()
	default:
		d.Fatalf(t, "unknown command")
	}
	s.check()
	if len(s.events) == 0 {
		return "nothing\n"
	}
	return strings.Join(s.events, "\n") + "\n"
}

// of finds what a primary was asked.
func (s *script) of(d *datadriven.TestData) func(sentAsk) bool {
	l, msg := s.lines[d.CmdArgs[0].Key], s.messages[d.CmdArgs[1].Key]
	return func(a sentAsk) bool { return a.line == l && slices.Equal(a.msg[2:], msg[2:]) }
}

func (s *script) message(kind, name string) []byte {
	msg, ok := s.messages[name]
	if !ok {
		switch kind {
		case "query":
			msg = queryMsg(s.t, name+".example.test.")
		case "update":
			msg = updateMsg(s.t, name)
		default:
			msg = signedUpdate(s.t, name)
		}
		s.messages[name] = msg
	}
	return msg
}

func (s *script) counters() string {
	var b strings.Builder
	m := s.x.shared.metrics
	for _, c := range []struct {
		name string
		of   prometheus.Metric
	}{
		{"won", m.won}, {"lost", m.lost}, {"budget", m.overBudget}, {"held back", m.heldBack}, {"copies", m.copies}, {"late", m.late},
		{"stray", m.stray}, {"unanswered", m.unanswered}, {"unreachable", m.unreachable},
		{"limited by address", m.limitedAddress}, {"limited in all", m.limitedAll},
	} {
		if n := counted(s.t, c.of); n > 0 {
			fmt.Fprintf(&b, "%s: %d\n", c.name, n)
		}
	}
	return b.String()
}

// counted is what a counter stands at.
func counted(t testing.TB, c prometheus.Metric) int {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return int(m.GetCounter().GetValue())
}
