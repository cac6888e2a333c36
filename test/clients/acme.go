package clients

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/clientconf"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// This file has the clients that prove to a certificate authority that a name is theirs (RFC 8555 section 8.4), and the authority:
// Pebble, Let's Encrypt's own for tests. It asks one of the secondaries.

const directory = "https://127.0.0.1:14000/dir"

// startPebble starts it inside, and gives the file with the CA of its web server.
func startPebble(s *site) string {
	s.t.Helper()
	ca := harness.NewAuthority(s.t, "acme")
	cert, key, _ := ca.Issue("acme")
	conf, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": cert, "privateKey": key,
		"httpPort": 5002, "tlsPort": 5001, "ocspResponderURL": "", "externalAccountBindingRequired": false,
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := s.command(s.t.Context(), []string{"PEBBLE_VA_NOSLEEP=1"}, s.programs+"pebble", "-config", s.write(s.dir, "pebble.json", string(conf)), "-dnsserver", ns2+":53")
	p := harness.StartProcess(s.t, cmd, filepath.Join(s.dir, "pebble.log"))
	if err := harness.Retry(30*time.Second, func(context.Context) error {
		if err := p.Alive(); err != nil {
			return err
		}
		conn, err := s.dial("tcp", "127.0.0.1:14000")
		if err == nil {
			_ = conn.Close()
		}
		return err
	}); err != nil {
		s.t.Fatalf("pebble: %v", err)
	}
	return ca.CA
}

// names of the nth certificate: a name and the wildcard below it have the same owner of challenges, with two values at once.
func certificateNames(w *work, n int) []string {
	host := fmt.Sprintf("h%d.%s", n, strings.TrimSuffix(w.zone(), "."))
	return []string{host, "*." + host}
}

// checkCertificate reads a certificate's names.
func checkCertificate(path string, names []string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return wrong{fmt.Errorf("%s: no certificate", path)}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return wrong{err}
	}
	slices.Sort(cert.DNSNames)
	slices.Sort(names)
	if !slices.Equal(cert.DNSNames, names) {
		return wrong{fmt.Errorf("the certificate is for %v, want %v", cert.DNSNames, names)}
	}
	return nil
}

func certbot() *client {
	return &client{name: "certbot", format: clientconf.Certbot, algorithm: "hmac-sha512",
		what:    "gets certificates for a name and its wildcard from Pebble, which asks a secondary one second after the answer",
		version: func(s *site) string { return s.version("certbot", "--version") },
		begin:   func(w *work) error { w.s.write(w.dir, "rfc2136.ini", w.config); return nil },
		step: func(ctx context.Context, w *work, n int) error {
			names := certificateNames(w, n)
			out, err := w.s.runAll(ctx, nil, "", "certbot", "certonly", "-n", "--agree-tos", "--register-unsafely-without-email",
				"--server", directory, "--no-verify-ssl", "--config-dir", w.dir+"/config", "--work-dir", w.dir+"/work", "--logs-dir", w.dir+"/logs",
				"--dns-rfc2136", "--dns-rfc2136-credentials", w.dir+"/rfc2136.ini", "--dns-rfc2136-propagation-seconds", "1",
				"-d", names[0], "-d", names[1], "--cert-name", "step", "--force-renewal", "--renew-with-new-domains")
			if err != nil {
				return err
			}
			if _, why, ok := strings.Cut(out, "Encountered exception during recovery"); ok {
				// It has its certificate, and tries once only to remove the challenges.
				w.left["_acme-challenge."+names[0]+"."] = true
				w.again("left a challenge behind" + lastLines(why, 1))
			}
			return checkCertificate(w.dir+"/config/live/step/cert.pem", names)
		}}
}

func lego(ca string) *client {
	return &client{name: "lego", format: clientconf.Lego, algorithm: "hmac-sha256",
		what:    "the same with lego's packages; it looks at both secondaries before it calls Pebble",
		version: func(s *site) string { return s.module("github.com/go-acme/lego/v5") },
		step: func(ctx context.Context, w *work, n int) error {
			names := certificateNames(w, n)
			env := append(strings.Fields(w.config), "LEGO_CA_CERTIFICATES="+ca, "RFC2136_SEQUENCE_INTERVAL=1", "RFC2136_POLLING_INTERVAL=1")
			if _, err := w.s.run(ctx, env, "", w.s.programs+"lego", "-directory", directory, "-domains", strings.Join(names, ","), "-out", w.dir+"/cert.pem"); err != nil {
				return err
			}
			return checkCertificate(w.dir+"/cert.pem", names)
		}}
}

// certManager presents two challenges of one owner as cert-manager's solver does, sees both at both secondaries, and cleans one of them
// up; the other one stays until the next step.
func certManager() *client {
	return &client{name: "cert-manager", format: clientconf.CertManager, algorithm: "hmac-sha512",
		what:    "its rfc2136 solver presents two challenges of one name, which both secondaries have to show at once, and cleans up one of them; UDP and TCP in turn",
		version: func(s *site) string { return s.module("github.com/cert-manager/cert-manager") },
		step: func(ctx context.Context, w *work, n int) error {
			owner := "_acme-challenge.h." + w.zone()
			conf, err := solverOf(w.config)
			if err != nil {
				return wrong{err}
			}
			solve := func(what, value string) error {
				_, err := w.s.run(ctx, nil, "", w.s.programs+"certmanager", what, conf["nameserver"], conf["tsigAlgorithm"], conf["tsigKeyName"], conf["tsig-secret"],
					[]string{"udp", "tcp"}[n%2], "h."+w.zone(), owner, w.zone(), value)
				return err
			}
			value := fmt.Sprintf("value-%d", n)
			if err := solve("present", value); err != nil {
				return err
			}
			w.want("%s 60 TXT %q", owner, value)
			for _, sec := range w.s.c.Info().Secondaries {
				m, err := harness.Asker{Timeout: 3 * time.Second}.Ask(ctx, "udp", sec.DNS, owner, dns.TypeTXT)
				if err != nil {
					return err
				}
				if !slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return strings.Contains(rr.String(), `"`+value+`"`) }) {
					return fmt.Errorf("%s does not have the challenge yet", sec.Name)
				}
			}
			if n > 0 {
				old := fmt.Sprintf("value-%d", n-1)
				if err := solve("cleanup", old); err != nil {
					return err
				}
				w.gone("%s 60 TXT %q", owner, old)
			}
			return nil
		}}
}

// solverOf reads the fields of the printed solver and its Secret.
func solverOf(text string) (map[string]string, error) {
	found := map[string]string{}
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if ok {
			found[k] = strings.Trim(v, `"`)
		}
	}
	for _, k := range []string{"nameserver", "tsigAlgorithm", "tsigKeyName", "tsig-secret"} {
		if found[k] == "" {
			return nil, fmt.Errorf("the printed configuration has no %s", k)
		}
	}
	return found, nil
}
