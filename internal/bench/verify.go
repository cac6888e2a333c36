package bench

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	verifyTimeout = 2 * time.Minute
	tsigFudge     = 300
)

// check transfers every zone of every copy and compares it with what the clients
// of all cells know: every acknowledged record once, no refused one.
func check(ctx context.Context, t target, zones []string, loads []load) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	var errs []error
	for _, c := range t.copies() {
		for i, z := range zones {
			if err := checkZone(ctx, t, c, i, z, loads); err != nil {
				errs = append(errs, fmt.Errorf("%s, zone %s: %w", c.name, z, err))
			}
		}
	}
	return errors.Join(errs...)
}

func checkZone(ctx context.Context, t target, c copyAt, index int, z string, loads []load) error {
	want := 0
	for _, l := range loads {
		for _, w := range l.workers {
			for seq, o := range w.outcomes {
				if o == acknowledged && w.zoneOf(seq) == index {
					want++
				}
			}
		}
	}
	got := 0
	err := transfer(ctx, t, c, z, func(a *dns.A) error {
		label, _, _ := strings.Cut(a.Hdr.Name, ".")
		u, ok := parseLabel(label)
		if !ok {
			return nil // the zone's own
		}
		if u.cell >= len(loads) || u.worker >= len(loads[u.cell].workers) {
			return fmt.Errorf("record %s was never sent", a)
		}
		w := loads[u.cell].workers[u.worker]
		if u.seq >= len(w.outcomes) || w.zoneOf(u.seq) != index {
			return fmt.Errorf("record %s was never sent", a)
		}
		if !a.A.Equal(net.IP(u.address())) || a.Hdr.Ttl != recordTTL {
			return fmt.Errorf("record %s is not as it was sent", a)
		}
		switch w.outcomes[u.seq] {
		case refused:
			return fmt.Errorf("record %s was refused and is there", a)
		case acknowledged:
			got++
		case unknown:
		}
		return nil
	})
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%d of %d acknowledged records are there", got, want)
	}
	return nil
}

// transfer calls fn for each A record of a zone.
func transfer(ctx context.Context, t target, c copyAt, z string, fn func(*dns.A) error) error {
	m := new(dns.Msg)
	m.SetAxfr(z)
	k := t.key()
	name := k.Name.String()
	m.SetTsig(name, dns.HmacSHA256, tsigFudge, time.Now().Unix())
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	x := &dns.Transfer{
		Conn:        &dns.Conn{Conn: conn},
		TsigSecret:  map[string]string{name: base64.StdEncoding.EncodeToString(k.Secret)},
		ReadTimeout: verifyTimeout,
	}
	envelopes, err := x.In(m, c.addr.String())
	if err != nil {
		return err
	}
	var first error
	for e := range envelopes { // to its end: the sender must not block
		if first == nil {
			first = e.Error
		}
		for _, rr := range e.RR {
			if a, ok := rr.(*dns.A); ok && first == nil {
				first = fn(a)
			}
		}
	}
	return first
}
