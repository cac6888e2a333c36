package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// noAnswer is what rcodes are compared with when there is none.
const noAnswer = -1

// ask gives the response code of a query over TCP, noAnswer when there is none.
func ask(t *testing.T, key *tsig.Key, addr, name string, qtype uint16) int {
	t.Helper()
	resp, err := harness.Asker{Key: key, Timeout: 5 * time.Second}.Ask(t.Context(), "tcp", addr, name, qtype)
	if err != nil {
		return failed(t, err)
	}
	return resp.Rcode
}

// update adds an RR, once, and gives the response code.
func update(ctx context.Context, addr string, key tsig.Key, origin zone.Name, rr zone.RR) (int, error) {
	wire := tsig.SignRequest(named.AppendUpdate(nil, uint16(rand.Uint32()), origin, nil, []zone.RR{rr}), key, time.Now())
	return exchange(ctx, "udp", addr, wire)
}

func exchange(ctx context.Context, network, addr string, wire []byte) (int, error) {
	resp, err := harness.Bytes(ctx, network, addr, wire)
	if err != nil {
		return noAnswer, err
	}
	return int(binary.BigEndian.Uint16(resp[2:]) & 15), nil
}

// addOnce adds an RR, and waits for an answer longer than an update may be in doubt.
func addOnce(t *testing.T, addr string, key tsig.Key, rr zone.RR) int {
	ctx, cancel := context.WithTimeout(t.Context(), doubtLimit+time.Second)
	defer cancel()
	rcode, err := update(ctx, addr, key, rr.Name.Parent(), rr)
	if err != nil {
		return noAnswer
	}
	return rcode
}

// mustUpdate adds an RR within ten seconds, sending the same octets until they are answered.
func mustUpdate(t *testing.T, addr string, key tsig.Key, origin zone.Name, rr zone.RR) {
	t.Helper()
	if rcode, err := harness.Dial(t, addr, key).Update(origin, nil, []zone.RR{rr}); err != nil || rcode != 0 {
		t.Fatalf("%s: rcode %d, %v", rr, rcode, err)
	}
}

// attempt is update in the form that Until repeats.
func attempt(addr string, key tsig.Key, origin zone.Name, rr zone.RR) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		rcode, err := update(ctx, addr, key, origin, rr)
		if err == nil && rcode != 0 {
			err = fmt.Errorf("rcode %d", rcode)
		}
		return err
	}
}

// addKey creates a key and gives it.
func addKey(t *testing.T, c *harness.Cluster, name string) tsig.Key {
	t.Helper()
	k, err := c.Admin[c.Names()[0]].AddKey(t.Context(), adminapi.AddKey{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return newest(t, k)
}

// newest gives the newest secret of a key.
func newest(t *testing.T, k *adminapi.Key) tsig.Key {
	t.Helper()
	v := k.Versions[0]
	out := harness.MustKey(t, k.Name, v.Algorithm, v.Secret)
	out.Version = v.Version
	return out
}

// xfrRCode gives the response code of a transfer.
func xfrRCode(t *testing.T, key *tsig.Key, addr, zone string, since *uint32) int {
	t.Helper()
	rrs, err := harness.Asker{Key: key, Timeout: 5 * time.Second}.Transfer(t.Context(), addr, zone, since)
	if err == nil {
		if len(rrs) == 0 {
			t.Errorf("a transfer of %s is empty", zone)
		}
		return noError
	}
	return failed(t, err)
}

// failed gives the response code that an error is about.
func failed(t *testing.T, err error) int {
	t.Helper()
	var rcode harness.RCodeError
	switch {
	case errors.As(err, &rcode):
		return int(rcode)
	case errors.Is(err, dns.ErrAuth):
		return dns.RcodeNotAuth // a TSIG error, BADKEY or BADSIG: such an answer is not signed
	}
	t.Log(err)
	return noAnswer
}

// pipelined writes messages, framed for TCP, on one connection and gives the response codes of the answers in their order.
func pipelined(t *testing.T, addr string, frames []byte, n int) (rcodes []int) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(frames); err != nil {
		t.Fatal(err)
	}
	dc := dns.Conn{Conn: conn}
	for range n {
		resp, err := dc.ReadMsgHeader(nil)
		if err != nil || len(resp) < 4 {
			t.Fatalf("answer %d of %d: %v", len(rcodes), n, err)
		}
		rcodes = append(rcodes, int(resp[3]&15))
	}
	return rcodes
}

// campaignOf is the seed of a campaign, from SEED or at random, and how long it is to go on, from DURATION; 0: as short as can be.
func campaignOf(t *testing.T) (seed uint64, duration time.Duration) {
	t.Helper()
	seed = rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED: %v", err)
		}
	}
	if s := os.Getenv("DURATION"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatalf("DURATION: %v", err)
		}
	}
	t.Logf("SEED=%d DURATION=%s", seed, duration)
	return seed, duration
}
