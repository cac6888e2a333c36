package named

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// ZoneConf is the part of a zone's settings that named needs. The ACLs are the inside of an address match list; named's
// own are added in front of them.
type ZoneConf struct {
	Name          zone.Name
	AllowQuery    string // "" admits nobody else
	AllowTransfer string // "" admits nobody else
}

// PublishKeyName names the key that signs this process's own UPDATEs, queries and transfers. The secret is new with each
// incarnation and never leaves the machine.
const PublishKeyName = "publish.zonekeeper.invalid."

const controlKeyName = "control.zonekeeper.invalid."

// Names of the files below Config.Dir.
const (
	confFile     = "named.conf"
	keysFile     = "keys.conf"
	startLogFile = "start.log"
	zonesDir     = "zones"
	// newZonesFile is what named reads the zones of the default view from: at start it moves the text into its LMDB file
	// when it has one. Handing over the zones this way makes them the same kind of zone as those added at run time, so
	// that delzone and modzone treat all alike and a reconfig forgets none.
	newZonesFile = "_default.nzf"
	newZonesDB   = "_default.nzd"
)

// renderConf returns named.conf. It is a pure function of its arguments; the golden files in testdata are its output, and
// named-checkconf of both branches accepts them.
func renderConf(c Config, b Build) []byte {
	var w strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	renderHead(line, c, func() {
		// Anyone who can send a query could fill the log with these; the endpoint reports what it refuses, at a limited rate.
		line("\tcategory %s { none; };", categorySecurity)
	})
	renderAuthoritative(line, c, b)
	line("\tallow-query { none; };")
	line("\tallow-transfer { none; };")
	line("\tallow-update { key %q; };", PublishKeyName)
	line("\tallow-new-zones yes;")
	if b.LMDB {
		line("\tlmdb-mapsize 512M;")
	}
	line("\tzone-statistics none;")
	renderZoneDefaults(line, c, b)
	// Secondaries are told by this process, once for the cluster and not by each of its named.
	line("\tnotify no;")
	renderTCP(line, c)
	line("\ttransfers-out 1000;")
	if b.is920() {
		// Zero is "no limit". What exceeds the quota is dropped without an answer.
		line("\tupdate-quota 0;")
	} else {
		line("\tupdate-quota 100000;")
	}
	line("};")
	return []byte(w.String())
}

// renderHead is what precedes the options; extra adds to the logging.
func renderHead(line func(string, ...any), c Config, extra func()) {
	line("// Written by zonekeeper at each start; changes made here are lost.")
	line("include %s;", quote(filepath.Join(c.Dir, keysFile)))
	line("controls {")
	line("\tinet %s port %d allow { %s; } keys { %q; };", c.Control.Addr(), c.Control.Port(), c.Control.Addr(), controlKeyName)
	line("};")
	line("logging {")
	// Below notice there is a line for each RR of an UPDATE, each NOTIFY, each transfer: most of named's CPU time. Nothing may
	// go to the channel "null": its level is the debug level, and with it named composes all of them to throw them away
	// (isc_log_wouldlog). Category unmatched goes there unless it is named.
	line("\tchannel out { stderr; severity notice; print-category yes; print-severity yes; print-time no; };")
	line("\tchannel none { stderr; severity critical; };")
	line("\tcategory default { out; };")
	line("\tcategory unmatched { none; };")
	extra()
	line("\tcategory query-errors { none; };") // as many as there are queries
	line("};")
}

// renderAuthoritative opens the options: an authoritative server and nothing else, which does not say what it is.
func renderAuthoritative(line func(string, ...any), c Config, b Build) {
	line("options {")
	line("\tdirectory %s;", quote(c.Dir))
	line("\tpid-file none;")
	line("\tsession-keyfile none;")
	line("\tkey-directory %s;", quote(c.Dir))
	line("\tmanaged-keys-directory %s;", quote(c.Dir))
	renderListen(line, c, b)
	line("\tversion none;")
	line("\thostname none;")
	line("\tserver-id none;")
	line("\trecursion no;")
	line("\tallow-recursion { none; };")
	line("\tallow-query-cache { none; };")
	line("\tempty-zones-enable no;")
	line("\tdnssec-validation no;")
	line("\tminimal-responses yes;")
}

func renderTCP(line func(string, ...any), c Config) {
	line("\ttcp-clients %d;", c.TCPClients)
	line("\ttcp-listen-queue 128;")
	// In units of 100 ms.
	line("\ttcp-idle-timeout %d;", c.TCPIdleTimeout/(100*time.Millisecond))
}

// renderZoneDefaults makes named accept whatever the state machine accepted, in a file or in an UPDATE: a refusal here
// would make one replica differ from the others.
func renderZoneDefaults(line func(string, ...any), c Config, b Build) {
	line("\tcheck-names primary ignore;")
	line("\tcheck-dup-records ignore;")
	line("\tcheck-integrity no;")
	line("\tcheck-mx ignore;")
	line("\tcheck-mx-cname ignore;")
	line("\tcheck-sibling no;")
	line("\tcheck-spf ignore;")
	line("\tcheck-srv-cname ignore;")
	line("\tcheck-wildcard no;")
	if b.hasCheckSVCB() {
		line("\tcheck-svcb no;")
	}
	// The counts behind these limits include deleted records that a slow transfer still reads.
	line("\tmax-records 0;")
	line("\tmax-records-per-type 0;")
	line("\tmax-types-per-name 0;")
	line("\tserial-update-method increment;")
	line("\tixfr-from-differences no;")
	line("\tprovide-ixfr yes;")
	line("\tmax-ixfr-ratio unlimited;")
	line("\tmax-journal-size %d;", c.MaxJournalSize)
	line("\tmasterfile-format raw;")
	line("\tflush-zones-on-shutdown no;")
	line("\tzero-no-soa-ttl no;")
}

func renderListen(line func(string, ...any), c Config, b Build) {
	type group struct {
		port  uint16
		proxy bool
	}
	render := func(option string, want func(netip.Addr) bool) {
		var order []group
		addrs := map[group][]string{}
		add := func(list []netip.AddrPort, proxy bool) {
			for _, a := range list {
				if !want(a.Addr()) {
					continue
				}
				g := group{a.Port(), proxy}
				if len(addrs[g]) == 0 {
					order = append(order, g)
				}
				text := a.Addr().String()
				if a.Addr().IsUnspecified() {
					text = "any"
				}
				addrs[g] = append(addrs[g], text+";")
			}
		}
		add(c.Listen, false)
		if b.ProxyProtocol() {
			add(c.ListenProxy, true)
		}
		if len(order) == 0 {
			line("\t%s { none; };", option)
		}
		for _, g := range order {
			proxy := ""
			if g.proxy {
				proxy = " proxy plain"
			}
			line("\t%s port %d%s { %s };", option, g.port, proxy, strings.Join(addrs[g], " "))
		}
	}
	render("listen-on", func(a netip.Addr) bool { return a.Is4() })
	render("listen-on-v6", func(a netip.Addr) bool { return !a.Is4() })
	if b.ProxyProtocol() && len(c.ListenProxy) > 0 {
		var from []string
		for _, p := range c.ProxyFrom {
			from = append(from, p.String()+";")
		}
		if len(from) == 0 {
			from = []string{"none;"}
		}
		line("\tallow-proxy { %s };", strings.Join(from, " "))
	}
	// The listening addresses are fixed; looking for new ones would only cost.
	line("\tinterface-interval 0;")
}

// renderKeys returns the key file. A key under rotation has two secrets and named can hold one: the first listed wins,
// which is the newest. The caller adds a placeholder for each key that an ACL names but nobody defines.
func renderKeys(keys []tsig.Key) []byte {
	sorted := slices.Clone(keys)
	slices.SortStableFunc(sorted, func(a, b tsig.Key) int {
		return strings.Compare(string(a.Name.Canonical()), string(b.Name.Canonical()))
	})
	var w strings.Builder
	var last zone.Name
	for _, k := range sorted {
		if name := k.Name.Canonical(); name == last {
			continue
		} else {
			last = name
		}
		algorithm := k.Algorithm.String()
		if k.MACSize != 0 && k.MACSize != k.Algorithm.Size() {
			algorithm = fmt.Sprintf("%s-%d", algorithm, 8*k.MACSize)
		}
		fmt.Fprintf(&w, "key %s { algorithm %s; secret %q; };\n", quoteName(k.Name), algorithm,
			base64.StdEncoding.EncodeToString(k.Secret))
	}
	return []byte(w.String())
}

var keyReference = regexp.MustCompile(`\bkey\s+(?:"([^"]+)"|([^\s;{}"]+))`)

// referencedKeys lists the keys that the zones' ACLs name.
func referencedKeys(zones []ZoneConf) []zone.Name {
	seen := map[zone.Name]bool{}
	var out []zone.Name
	add := func(n zone.Name) {
		if n = n.Canonical(); !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	for _, z := range zones {
		for _, text := range []string{z.AllowQuery, z.AllowTransfer} {
			for _, m := range keyReference.FindAllStringSubmatch(text, -1) {
				if n, err := zone.ParseName(m[1] + m[2]); err == nil {
					add(n)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// renderZone returns the braces of a zone statement, for addzone, modzone and the new-zones file.
func renderZone(c Config, z ZoneConf, file string) string {
	own := fmt.Sprintf("key %q;", PublishKeyName)
	for _, a := range c.Forwarders {
		own += " " + a.String() + ";"
	}
	acl := func(text string) string {
		text = strings.TrimSpace(text)
		if text != "" && !strings.HasSuffix(text, ";") {
			text += ";"
		}
		return strings.TrimSpace(own + " " + text)
	}
	return fmt.Sprintf("{ type primary; file %s; allow-query { %s }; allow-transfer { %s }; };",
		quote(filepath.Join(zonesDir, file)), acl(z.AllowQuery), acl(z.AllowTransfer))
}

// renderNewZones returns the file of zones that named has "added" before its start; files[i] belongs to zones[i].
func renderNewZones(c Config, zones []ZoneConf, files []string) []byte {
	var w strings.Builder
	for i, z := range zones {
		fmt.Fprintf(&w, "zone %s %s\n", quoteName(z.Name), renderZone(c, z, files[i]))
	}
	return []byte(w.String())
}

// quote writes a named.conf string. Only a quote and a backslash are special inside one.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// quoteName writes a domain name as a named.conf string. Every octet that could mean something to one of the parsers
// between here and the name is written as \DDD.
func quoteName(n zone.Name) string { return `"` + confName(n) + `"` }

func confName(n zone.Name) string {
	var w strings.Builder
	for s := string(n.Canonical()); len(s) > 0 && s[0] != 0; s = s[1+int(s[0]):] {
		for _, ch := range []byte(s[1 : 1+int(s[0])]) {
			switch {
			case ch >= 'a' && ch <= 'z', ch >= '0' && ch <= '9', ch == '-', ch == '_', ch == '*':
				w.WriteByte(ch)
			default:
				fmt.Fprintf(&w, `\%03d`, ch)
			}
		}
		w.WriteByte('.')
	}
	if w.Len() == 0 {
		return "."
	}
	return w.String()
}
