package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/clientconf"
)

// externalDNS synchronises: each step wants one more name, another address for one that is there, and one name less; the
// synchronisation after it, which reads the zone by AXFR, has to find nothing to change.
func externalDNS() *client {
	return &client{name: "external-dns", format: clientconf.ExternalDNS, algorithm: "hmac-sha256",
		what:    "reads the zone by AXFR, creates, changes and deletes names and its TXT registry's records; the synchronisation after each finds nothing to change",
		version: func(s *site) string { return s.module("sigs.k8s.io/external-dns") },
		only:    func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeA },
		anyTTL:  true,
		step: func(ctx context.Context, w *work, n int) error {
			type endpoint struct {
				DNSName    string   `json:"dnsName"`
				RecordType string   `json:"recordType"`
				Targets    []string `json:"targets"`
				TTL        int      `json:"recordTTL"`
			}
			var wanted []endpoint
			var names []string
			for m := max(0, n-kept+1); m <= n; m++ {
				// An odd one has another address at each step.
				last := 0
				if m%2 == 1 {
					last = n & 255
				}
				name := fmt.Sprintf("h%d.%s", m, strings.TrimSuffix(w.zone(), "."))
				wanted = append(wanted, endpoint{name, "A", []string{fmt.Sprintf("10.%d.%d.%d", last, m>>8&255, m&255)}, 60})
				names = append(names, fmt.Sprintf("%s. A %s", name, wanted[len(wanted)-1].Targets[0]))
			}
			text, err := json.Marshal(wanted)
			if err != nil {
				return wrong{err}
			}
			sync := func() (changes int, err error) {
				args := append([]string{w.s.programs + "externaldns"}, strings.Fields(w.config)...)
				args = append(args, "--registry=txt", "--txt-owner-id=clients", "--source=fake", "--policy=sync")
				out, err := w.s.runAll(ctx, nil, string(text), args...)
				if err != nil {
					return 0, err
				}
				if _, why, ok := strings.Cut(out, "AXFR error"); ok {
					// It takes a zone whose transfer broke off for an empty one, and creates everything (provider/rfc2136, List). The
					// next synchronisation puts that right.
					return 0, fmt.Errorf("the zone's transfer broke off%.60s", why)
				}
				var found struct{ Create, Update, Delete int }
				if err := json.Unmarshal([]byte(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]), &found); err != nil {
					return 0, fmt.Errorf("%w in %q", err, out)
				}
				return found.Create + found.Update + found.Delete, nil
			}
			if _, err := sync(); err != nil {
				return err
			}
			changes, err := sync()
			if err != nil {
				return err
			}
			if changes != 0 {
				return wrong{fmt.Errorf("the second synchronisation finds %d changes", changes)}
			}
			clear(w.records)
			for _, rr := range names {
				w.want("%s", rr)
			}
			return nil
		}}
}
