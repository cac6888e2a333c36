package clients

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/clientconf"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// This file has ISC Kea's DDNS daemon (D2). It gets name-change requests as a DHCP server sends them: the octets of a length and JSON, in a
// datagram (Kea's src/lib/dhcp_ddns/ncr_msg.h). It sends updates with prerequisites and DHCID (RFC 4703): a name belongs to who
// registered it.

const (
	keaProgram = "kea-dhcp-ddns"
	keaReverse = "10.in-addr.arpa."
)

func kea() *client {
	return &client{name: "kea", format: clientconf.Kea, algorithm: "hmac-sha256", anyTTL: true,
		zones:   []string{"kea.test.", keaReverse},
		what:    "leases come, go, and ask for a name that is somebody else's (DHCID, RFC 4703); A and PTR",
		version: func(s *site) string { return s.version("/usr/sbin/"+keaProgram, "-v") },
		begin: func(w *work) error {
			conf := w.s.write(w.dir, "kea-dhcp-ddns.conf", w.config)
			cmd := w.s.command(w.s.t.Context(), []string{"KEA_PIDFILE_DIR=" + w.dir, "KEA_LOCKFILE_DIR=none"}, "/usr/sbin/"+keaProgram, "-c", conf)
			harness.StartProcess(w.s.t, cmd, filepath.Join(w.dir, "log"))
			return nil
		},
		step: lease,
	}
}

// lease is the nth step: a lease for a new name; at every third one somebody else asks for the same name and doesn't get it; the lease of
// some steps ago ends.
func lease(ctx context.Context, w *work, n int) error {
	r := ncr{w: w, n: n, owner: 1}
	if err := r.send(ctx, add); err != nil {
		return err
	}
	r.note(w.want)
	if n%3 == 2 {
		// Kea gives up: nothing is to be seen, so the request is sent once more and the check at the end tells.
		thief := ncr{w: w, n: n, owner: 2}
		for range 2 {
			if err := thief.post(add); err != nil {
				return err
			}
		}
		thief.noteReverse(w)
	}
	if n >= kept {
		old := ncr{w: w, n: n - kept, owner: 1}
		if err := old.send(ctx, remove); err != nil {
			return err
		}
		old.note(w.gone)
	}
	return nil
}

type change int

const (
	add    change = 0
	remove change = 1
)

// ncr is a name-change request for the lease of a step.
type ncr struct {
	w     *work
	n     int
	owner int // 1, or 2: somebody else, with another address
}

func (r ncr) name() string { return fmt.Sprintf("lease%d.%s", r.n, r.w.zone()) }

func (r ncr) address() net.IP { return net.IPv4(10, byte(r.owner), byte(r.n>>8), byte(r.n)).To4() }

// dhcid is type 2 (DUID), digest 1 (SHA-256), and something in the digest's place.
func (r ncr) dhcid() []byte {
	d := make([]byte, 35)
	d[1], d[2], d[3] = 2, 1, byte(r.owner)
	binary.BigEndian.PutUint32(d[4:], uint32(r.n))
	return d
}

func (r ncr) ptr() string {
	ip := r.address()
	return fmt.Sprintf("%d.%d.%d.%s", ip[3], ip[2], ip[1], keaReverse)
}

// post gives the request to Kea.
func (r ncr) post(c change) error {
	text, err := json.Marshal(map[string]any{
		"change-type": c, "forward-change": true, "reverse-change": r.owner == 1, "fqdn": r.name(), "ip-address": r.address().String(),
		"dhcid": strings.ToUpper(hex.EncodeToString(r.dhcid())), "lease-expires-on": time.Now().Add(time.Hour).UTC().Format("20060102150405"),
		"lease-length": 3600, "use-conflict-resolution": true,
	})
	if err != nil {
		return err
	}
	conn, err := r.w.s.dial("udp", "127.0.0.1:53001")
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...))
	return err
}

// send posts the request and waits until the endpoint shows that it was carried out. Kea gives up after three datagrams of half a second
// each, and its DHCP server asks again when the lease is renewed.
func (r ncr) send(ctx context.Context, c change) error {
	if err := r.post(c); err != nil {
		return err
	}
	limit := time.Now().Add(4 * time.Second)
	for {
		forward, err := r.w.lookup(ctx, r.name(), dns.TypeA)
		var reverse []dns.RR
		if err == nil {
			reverse, err = r.w.lookup(ctx, r.ptr(), dns.TypePTR)
		}
		want := 1 - int(c)
		switch {
		case err == nil && len(forward) == want && len(reverse) == want:
			return nil
		case time.Now().After(limit):
			return fmt.Errorf("kea gave a request up")
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// note tells the records of a lease.
func (r ncr) note(tell func(format string, args ...any)) {
	tell("%s A %s", r.name(), r.address())
	tell("%s DHCID %s", r.name(), base64.StdEncoding.EncodeToString(r.dhcid()))
	tell("%s PTR %s", r.ptr(), r.name())
	tell("%s DHCID %s", r.ptr(), base64.StdEncoding.EncodeToString(r.dhcid()))
}

// noteReverse: nothing of the other's, in either direction.
func (r ncr) noteReverse(w *work) { r.note(w.gone) }

// lookup asks the endpoint.
func (w *work) lookup(ctx context.Context, name string, qtype uint16) ([]dns.RR, error) {
	m, err := harness.Asker{Timeout: 3 * time.Second}.Ask(ctx, "udp", w.s.c.Info().Endpoint, name, qtype)
	switch {
	case err != nil:
		return nil, err
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("%s: %s", name, dns.RcodeToString[m.Rcode])
	}
	return m.Answer, nil
}
