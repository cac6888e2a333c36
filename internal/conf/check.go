package conf

import (
	"net"
	"net/netip"
	"net/url"
)

// Bad notes a mistake in a field of a configuration; the text says the value and the
// remedy.
type Bad func(field, format string, args ...any)

// CheckURL wants an http or https URL with a port.
func CheckURL(field, s string, bad Bad) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
		bad(field, "%q is not an http:// or https:// URL", s)
		return
	}
	if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
		bad(field, "%q has no port", s)
	}
}

// CheckAdmin checks the fields of an admin API's socket: without mutual TLS it may
// only listen on loopback.
func CheckAdmin(listen, cert, key, clientCA string, bad Bad) {
	n := CountSet(cert, key, clientCA)
	if n != 0 && n != 3 {
		bad("admin", "mutual TLS needs all of tls_cert, tls_key and tls_client_ca")
	}
	ap, err := netip.ParseAddrPort(listen)
	switch {
	case err != nil:
		bad("admin.listen", "%q is not address:port (%v)", listen, err)
	case n == 0 && !ap.Addr().IsLoopback():
		bad("admin.listen", "%q is reachable from outside and has no authentication; use a loopback address or set the tls_ fields", listen)
	}
}

// CheckLog checks the fields log_level and log_format.
func CheckLog(level, format string, bad Bad) {
	switch level {
	case "debug", "info", "warn", "error":
	default:
		bad("log_level", "%q; use debug, info, warn or error", level)
	}
	switch format {
	case "text", "json":
	default:
		bad("log_format", "%q; use text or json", format)
	}
}

// CountSet returns how many of its arguments are not empty.
func CountSet(s ...string) (n int) {
	for _, v := range s {
		if v != "" {
			n++
		}
	}
	return n
}

// ValidName reports whether s can name a process of a cluster: letters, digits, '-'
// and '_', at most 63 of them.
func ValidName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}
