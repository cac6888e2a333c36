package clients

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/clientconf"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// kept is how many of the names that a client adds stay; it removes older ones.
const kept = 5

// addAndRemove is the work of a client that adds names and removes them: what the nth step adds and which name it removes.
func addAndRemove(w *work, n int) (add []string, remove string) {
	add = []string{fmt.Sprintf("h%d.%s 60 A 10.1.%d.%d", n, w.zone(), n>>8&255, n&255), fmt.Sprintf(`h%d.%s 60 TXT "step %d"`, n, w.zone(), n)}
	if n >= kept {
		remove = fmt.Sprintf("h%d.%s", n-kept, w.zone())
	}
	return add, remove
}

// added notes what addAndRemove asks for.
func added(w *work, n int) {
	for _, m := range []int{n, n - kept} {
		if m < 0 {
			continue
		}
		add, _ := addAndRemove(w, m)
		for _, rr := range add {
			if m == n {
				w.want("%s", rr)
			} else {
				w.gone("%s", rr)
			}
		}
	}
}

// script is the nth step for nsupdate and knsupdate.
func script(w *work, n int) string {
	add, remove := addAndRemove(w, n)
	var b strings.Builder
	fmt.Fprintf(&b, "update delete h%d.%s\n", n, w.zone()) // an earlier attempt's
	for _, rr := range add {
		fmt.Fprintf(&b, "update add %s\n", rr)
	}
	if remove != "" {
		fmt.Fprintf(&b, "update delete %s\n", remove)
	}
	b.WriteString("send\n")
	return b.String()
}

// updater is nsupdate or knsupdate. head says whether the script begins with what key export printed.
func updater(c *client, head bool, words func(w *work) []string) *client {
	c.step = func(ctx context.Context, w *work, n int) error {
		text := script(w, n)
		if head {
			text = w.config + text
		}
		if _, err := w.s.run(ctx, nil, text, words(w)...); err != nil {
			return err
		}
		added(w, n)
		return nil
	}
	c.begin = func(w *work) error {
		w.s.write(w.dir, "key.conf", w.config)
		return nil
	}
	return c
}

func nsupdates() []*client {
	version := func(s *site) string { return s.version("nsupdate", "-V") }
	return []*client{
		updater(&client{name: "nsupdate-udp", format: clientconf.Nsupdate, algorithm: "hmac-sha256", version: version,
			what: "adds and removes names, over UDP"}, true, func(*work) []string { return []string{"nsupdate"} }),
		updater(&client{name: "nsupdate-tcp", format: clientconf.BIND, algorithm: "hmac-sha512", version: version,
			what: "the same with `-k` and `-v` (TCP), without `server`: it finds the endpoint by the SOA's MNAME"}, false,
			func(w *work) []string { return []string{"nsupdate", "-v", "-k", w.dir + "/key.conf"} }),
		updater(&client{name: "nsupdate-y", format: clientconf.Nsupdate, algorithm: "hmac-sha1", version: version,
			what: "the same with `-y`, without `server`, over UDP"}, false,
			func(w *work) []string { return []string{"nsupdate", "-y", keyOption(w.config)} }),
		updater(&client{name: "knsupdate", format: clientconf.Knsupdate, algorithm: "hmac-sha384",
			version: func(s *site) string { return s.version("knsupdate", "-V") },
			what:    "adds and removes names, over UDP"}, true, func(*work) []string { return []string{"knsupdate"} }),
	}
}

// keyOption makes the argument of -y of the line of a script that says the same.
func keyOption(script string) string {
	for line := range strings.Lines(script) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "key" {
			return f[1] + ":" + f[2]
		}
	}
	return ""
}

// python is a counter that is only ever moved by compare-and-set: no update is lost, none applied twice. The rest of the line is the
// update that the other programs make.
const python = `
import sys, dns.rcode, dns.resolver, dns.message, dns.rdatatype
n = int(sys.argv[1])
def counter():
    q = dns.message.make_query("counter." + zone, "TXT")
    a = dns.query.tcp(q, server, timeout=5, port=port)
    if a.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        sys.exit("the counter can't be read: " + dns.rcode.to_text(a.rcode()))
    for rrset in a.answer:
        return int(rrset[0].strings[0])
    return -1
u = dns.update.UpdateMessage(zone, keyring=keyring)
if n == 0:
    u.absent("counter")
else:
    u.present("counter", "TXT", '"%d"' % (n - 1))
u.replace("counter", 60, "TXT", '"%d"' % n)
u.replace("h%d" % n, 60, "A", "10.1.%d.%d" % (n >> 8 & 255, n & 255))
if n >= 5:
    u.delete("h%d" % (n - 5))
send = dns.query.tcp if n % 2 else dns.query.udp
before = counter()
if before == n:
    sys.exit(0) # an earlier attempt that had no answer
if before != n - 1:
    print("the counter is %d before step %d" % (before, n)); sys.exit(9)
r = send(u, server, timeout=5, port=port)
if r.rcode() != 0:
    sys.exit(dns.rcode.to_text(r.rcode()))
if counter() != n:
    print("the counter is %d after step %d" % (counter(), n)); sys.exit(9)
`

func dnspython() *client {
	return &client{name: "dnspython", format: clientconf.Dnspython, algorithm: "hmac-sha512",
		what: "moves a counter by compare-and-set, reads it before and after; UDP and TCP in turn",
		version: func(s *site) string {
			return s.version("/usr/bin/python3", "-c", "import dns.version; print(dns.version.version)")
		},
		begin: func(w *work) error { w.s.write(w.dir, "step.py", w.config+python); return nil },
		step: func(ctx context.Context, w *work, n int) error {
			out, err := w.s.run(ctx, nil, "", "/usr/bin/python3", w.dir+"/step.py", strconv.Itoa(n))
			if strings.Contains(out, "the counter is") {
				return wrong{err}
			}
			if err != nil {
				return err
			}
			w.gone(`counter TXT "%d"`, n-1)
			w.want(`counter TXT "%d"`, n)
			w.want("h%d A 10.1.%d.%d", n, n>>8&255, n&255)
			if m := n - kept; m >= 0 {
				w.gone("h%d A 10.1.%d.%d", m, m>>8&255, m&255)
			}
			return nil
		}}
}

// gardener is the pattern of Gardener's DNS controllers, whose module can't be had here: over TCP, a message that deletes the RRset,
// then one that inserts it.
func gardener() *client {
	return &client{name: "gardener", format: clientconf.Gardener, algorithm: "hmac-sha256",
		what:    "the two messages of Gardener's rfc2136 provider, delete and insert, over TCP, with its DNS library (the controller itself is not run)",
		version: func(s *site) string { return "miekg/dns" },
		step: func(ctx context.Context, w *work, n int) error {
			name := fmt.Sprintf("h%d.%s", n%kept, w.zone())
			old := []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}}}
			remove := new(dns.Msg).SetUpdate(w.zone())
			remove.RemoveRRset(old)
			if err := w.exchange(ctx, remove); err != nil {
				return err
			}
			insert := new(dns.Msg).SetUpdate(w.zone())
			insert.Insert([]dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 120}, A: net.IPv4(10, 1, byte(n>>8), byte(n))}})
			if err := w.exchange(ctx, insert); err != nil {
				return err
			}
			if m := n - kept; m >= 0 {
				w.gone("%s 120 A 10.1.%d.%d", name, m>>8&255, m&255)
			}
			w.want("%s 120 A 10.1.%d.%d", name, n>>8&255, n&255)
			return nil
		}}
}

// exchange sends one signed message over TCP and wants NOERROR.
func (w *work) exchange(ctx context.Context, m *dns.Msg) error {
	conn, err := w.s.dial("tcp", endpoint+":53")
	if err != nil {
		return err
	}
	defer conn.Close()
	name := w.key.Name.String()
	m.SetTsig(name, dns.HmacSHA256, 300, time.Now().Unix())
	c := dns.Client{Net: "tcp", TsigSecret: map[string]string{name: secretOf(w.key)}, Timeout: 5 * time.Second}
	r, _, err := c.ExchangeWithConnContext(ctx, m, &dns.Conn{Conn: conn})
	switch {
	case err != nil:
		return err
	case r.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("answer %s", dns.RcodeToString[r.Rcode])
	}
	return nil
}

func secretOf(k tsig.Key) string { return base64.StdEncoding.EncodeToString(k.Secret) }
