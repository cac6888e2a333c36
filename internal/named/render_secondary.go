package named

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// SecondaryConf makes named a public secondary: it holds a catalog zone (RFC 9432) and its members, which it transfers from
// one address on loopback.
type SecondaryConf struct {
	// Proxy is where every zone is transferred from, over UDP and TCP. A NOTIFY is believed from its address alone.
	Proxy netip.AddrPort
	// Key signs the transfers. Content hands it over.
	Key zone.Name
	// Catalog is the name of the catalog zone.
	Catalog zone.Name
	// AllowTransfer is the inside of an address match list: who may transfer the members from here. "" is nobody.
	AllowTransfer string
	// RateLimit limits equal responses to one client (RRL). Only where clients' addresses are what named sees.
	RateLimit bool
	// Saw is told what only named's log says, in the order of its lines, by one goroutine; it must not wait. nil: nobody is.
	Saw func(Sighting)
}

func (c *SecondaryConf) check(bad func(string, ...any)) {
	if !c.Proxy.IsValid() || !c.Proxy.Addr().Is4() || !c.Proxy.Addr().IsLoopback() || c.Proxy.Port() == 0 {
		bad("named's only primary %q must be an address within 127.0.0.0/8 with a port", c.Proxy)
	}
	if c.Key == "" {
		bad("named has no key for transfers; name the secondary's TSIG key")
	}
	if c.Catalog == "" || c.Catalog == zone.Root {
		bad("named's catalog zone %q is no name that a catalog can have", c.Catalog)
	}
}

// Names of files below Config.Dir at a secondary.
const (
	catalogFile = "catalog.db"
	// membersDir must exist: named would keep the members in memory only, with no more than a line in its log.
	membersDir = "members"
)

// renderSecondary returns named.conf of a secondary. It is a pure function of its arguments, as renderConf.
func renderSecondary(c Config, b Build) []byte {
	s := c.Secondary
	var w strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	own := fmt.Sprintf("key %q;", PublishKeyName)
	primary := fmt.Sprintf("%s port %d key %s;", s.Proxy.Addr(), s.Proxy.Port(), quoteName(s.Key))

	renderHead(line, c, func() {
		// Refused NOTIFYs and failed transfers are told here, at level info like those that succeed (lib/dns/zone.c,
		// dns_zone_notifyreceive; lib/dns/xfrin.c). The reader of this output passes on those only that concern
		// people, and at a limited rate.
		line("\tchannel transfers { stderr; severity info; print-category yes; print-severity yes; print-time no; };")
		line("\tcategory %s { transfers; };", categoryTransfers)
		line("\tcategory %s { transfers; };", categoryNotify)
		// Below error there is each denied query.
		line("\tchannel refused { stderr; severity error; print-category yes; print-severity yes; print-time no; };")
		line("\tcategory %s { refused; };", categorySecurity)
	})
	renderAuthoritative(line, c, b)
	// Members of the catalog have no settings of their own but these (lib/dns/catz.c).
	line("\tallow-query { any; };")
	line("\tallow-transfer { %s };", strings.TrimSpace(own+" "+terminated(s.AllowTransfer)))
	line("\tallow-notify { none; };")
	line("\tallow-update { none; };")
	line("\tallow-update-forwarding { none; };")
	line("\tallow-new-zones no;")
	line("\tnotify no;")
	line("\tzone-statistics none;")
	// Whatever a primary serves is served here.
	line("\tcheck-names secondary ignore;")
	line("\tmax-records 0;")
	line("\tmax-records-per-type 0;")
	line("\tmax-types-per-name 0;")
	line("\tmasterfile-format raw;")
	line("\tzero-no-soa-ttl no;")
	// The proxy tells of each change at once and picks a primary that answers: nothing is gained by going slow. The refresh is
	// for when no primary tells of changes any more.
	line("\tserial-query-rate 10000;")
	line("\ttransfers-in 32;")
	line("\ttransfers-per-ns 32;")
	line("\ttry-tcp-refresh no;")
	line("\tmin-refresh-time 30;")
	line("\tmax-refresh-time 60;")
	line("\tmin-retry-time 15;")
	line("\tmax-retry-time 30;")
	if s.RateLimit {
		line("\trate-limit { responses-per-second 50; slip 2; window 5; };")
	}
	// Every change of the catalog is obeyed at once: with the default of 5 s, which named counts in whole seconds, a member
	// that comes right after another would wait.
	line("\tcatalog-zones {")
	line("\t\tzone %s default-primaries { %s } min-update-interval 0s in-memory no zone-directory %s;", quoteName(s.Catalog), primary, quote(membersDir))
	line("\t};")
	renderTCP(line, c)
	line("};")
	line("zone %s {", quoteName(s.Catalog))
	line("\ttype secondary;")
	line("\tfile %s;", quote(catalogFile))
	line("\tprimaries { %s };", primary)
	// Who reads the catalog knows every zone.
	line("\tallow-query { %s };", own)
	line("\tallow-transfer { %s };", own)
	line("};")
	return []byte(w.String())
}

// KeyACL is the element of an address match list that admits a key.
func KeyACL(n zone.Name) string { return "key " + quoteName(n) + "; " }

// CatalogFile is where a secondary keeps its catalog zone.
func (c Config) CatalogFile() string { return filepath.Join(c.Dir, catalogFile) }

// MemberFile is the name, below Config.Dir, of the file that named keeps a zone of the catalog in (lib/dns/catz.c,
// dns_catz_generate_masterfilename).
func (c *SecondaryConf) MemberFile(z zone.Name) string {
	text := "_default_" + strings.TrimSuffix(c.Catalog.String(), ".") + "_" + strings.TrimSuffix(z.String(), ".")
	if strings.ContainsAny(text, `\/:`) || len(text) > 2*sha256.Size+1 {
		text = fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
	}
	return filepath.Join(membersDir, "__catz__"+text+".db")
}

// terminated is an address match list that more can follow.
func terminated(acl string) string {
	acl = strings.TrimSpace(acl)
	if acl != "" && !strings.HasSuffix(acl, ";") {
		acl += ";"
	}
	return acl
}
