package publish

import (
	"context"
	"encoding/base64"
	"net"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// transferAs reports whether named lets a key transfer a zone, asked by an independent implementation.
func (r *rig) transferAs(ctx context.Context, origin zone.Name, key *fsm.PutKey) bool {
	r.t.Helper()
	m := new(dns.Msg)
	m.SetAxfr(origin.String())
	m.SetTsig(key.Name.String(), key.Algorithm+".", 300, time.Now().Unix())
	rrs, err := r.transfer(ctx, m, map[string]string{key.Name.String(): base64.StdEncoding.EncodeToString(key.Sealed)})
	return err == nil && len(rrs) > 2
}

func (r *rig) transfer(ctx context.Context, m *dns.Msg, secrets map[string]string) ([]dns.RR, error) {
	r.t.Helper()
	addr := r.srv.Config().Listen[0].String()
	// From the forwarder's address, every zone is readable; a key is judged from another one.
	d := net.Dialer{}
	if secrets == nil {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 53)}
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tr := &dns.Transfer{DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, Conn: &dns.Conn{Conn: conn}, TsigSecret: secrets}
	envelopes, err := tr.In(m, addr)
	if err != nil {
		return nil, err
	}
	var rrs []dns.RR
	for e := range envelopes {
		if e.Error != nil {
			return nil, e.Error
		}
		rrs = append(rrs, e.RR...)
	}
	return rrs, nil
}
