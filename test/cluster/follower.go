package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// versions is what every zone held at every serial that somebody was shown. It is safe for concurrent use.
type versions struct {
	mu          sync.Mutex
	seen        map[version]sight
	incremental int // steps of IXFRs
	whole       int // zones transferred whole
	problems    []string
}

type version struct {
	zone   string
	serial uint32
}

// sight is the content that was shown, and by whom first.
type sight struct {
	digest zone.Digest
	from   string
}

func newVersions() *versions { return &versions{seen: map[version]sight{}} }

// note compares a content with what others showed at the same serial (I2).
func (v *versions) note(name, from string, z *zone.Zone) {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := version{name, z.Serial()}
	first, known := v.seen[at]
	switch {
	case !known:
		v.seen[at] = sight{z.Digest(), from}
	case first.digest != z.Digest():
		v.failLocked("%s at serial %d: %s shows %s, %s showed %s", name, at.serial, from, z.Digest(), first.from, first.digest)
	}
}

func (v *versions) fail(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failLocked(format, args...)
}

func (v *versions) failLocked(format string, args ...any) {
	if len(v.problems) < 50 {
		v.problems = append(v.problems, fmt.Sprintf(format, args...))
	}
}

// follower keeps a copy of a zone as a secondary does: by IXFR, from one primary after another. It is for one goroutine.
type follower struct {
	zone      string
	key       func() tsig.Key
	primaries []string
	versions  *versions
	content   *zone.Zone // nil: none yet
}

// follow transfers until ctx ends, from each primary in turn.
func (f *follower) follow(ctx context.Context, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.refresh(ctx, f.primaries[i%len(f.primaries)])
	}
}

// refresh asks one primary for what is new. A primary that does not answer, or does not have the zone, changes nothing.
func (f *follower) refresh(ctx context.Context, addr string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var since *uint32
	if f.content != nil {
		s := f.content.Serial()
		since = &s
	}
	k := f.key()
	parts, err := harness.Asker{Key: &k, Timeout: 3 * time.Second}.Transfer(ctx, addr, f.zone, since)
	if err != nil || len(parts) == 0 {
		return
	}
	rrs, err := convert(parts)
	if err != nil {
		f.versions.fail("%s from %s: %v", f.zone, addr, err)
		return
	}
	if since != nil && zone.SerialGT(*since, zone.SOASerial(rrs[0].Data)) {
		f.versions.fail("%s: %s offers serial %d after %d was shown", f.zone, addr, zone.SOASerial(rrs[0].Data), *since)
		return
	}
	f.take(addr, rrs)
}

// take makes the answer to a transfer the content (RFC 1995 section 4, RFC 5936 section 2.2).
func (f *follower) take(addr string, rrs []zone.RR) {
	switch {
	case len(rrs) == 1: // up to date
		return
	case f.content != nil && rrs[1].Type == zone.TypeSOA && zone.SOASerial(rrs[1].Data) == f.content.Serial():
		f.steps(addr, rrs[1:len(rrs)-1])
	default:
		z, err := zone.FromRRs(zone.MustParseName(f.zone+"."), rrs[:len(rrs)-1])
		if err != nil {
			f.versions.fail("%s from %s: %v", f.zone, addr, err)
			return
		}
		f.content = z
		f.versions.count(0, 1)
	}
	f.versions.note(f.zone, addr, f.content)
}

func (v *versions) count(steps, whole int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.incremental += steps
	v.whole += whole
}

// steps follows an IXFR's steps: old SOA, deletions, new SOA, additions, and so on. Each leads to a version.
func (f *follower) steps(addr string, rrs []zone.RR) {
	var d zone.Diff
	deleting := false
	apply := func() {
		f.content.Apply(d)
		d = zone.Diff{}
		f.versions.note(f.zone, "an IXFR from "+addr, f.content)
		f.versions.count(1, 0)
	}
	for i, rr := range rrs {
		if rr.Type == zone.TypeSOA {
			if deleting = !deleting; deleting && i > 0 {
				apply()
			}
		}
		if deleting {
			if rr.Type == zone.TypeSOA && zone.SOASerial(rr.Data) != f.content.Serial() {
				f.versions.fail("%s: an IXFR from %s goes on from serial %d at %d", f.zone, addr, zone.SOASerial(rr.Data), f.content.Serial())
			}
			d.Del = append(d.Del, rr)
		} else {
			d.Add = append(d.Add, rr)
		}
	}
	apply()
}

// convert brings the RRs of a transfer into this project's form.
func convert(in []dns.RR) ([]zone.RR, error) {
	out := make([]zone.RR, 0, len(in))
	buf := make([]byte, dns.MaxMsgSize)
	for _, rr := range in {
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			return nil, err
		}
		r, _, err := zone.UnpackRR(buf[:n], 0)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
