package named_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// transferAs does an AXFR as a client of named would, with an independent implementation.
func transferAs(ctx context.Context, addr netip.AddrPort, origin zone.Name, key tsig.Key) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	tr := &dns.Transfer{DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, Conn: &dns.Conn{Conn: conn}, TsigSecret: map[string]string{key.Name.String(): base64.StdEncoding.EncodeToString(key.Secret)}}
	m := new(dns.Msg)
	m.SetAxfr(origin.String())
	m.SetTsig(key.Name.String(), key.Algorithm.String()+".", 300, 0)
	m.Extra[0].(*dns.TSIG).TimeSigned = uint64(time.Now().Unix())
	envelopes, err := tr.In(m, addr.String())
	if err != nil {
		return err
	}
	n := 0
	for e := range envelopes {
		if e.Error != nil {
			return e.Error
		}
		n += len(e.RR)
	}
	if n == 0 {
		return fmt.Errorf("transfer of %s: no RRs", origin)
	}
	return nil
}
