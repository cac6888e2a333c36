package vip_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/front/vip"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	vip4 = "192.0.2.100"
	vip6 = "2001:db8::100"
)

func parse(t *testing.T, list ...string) (out []netip.Addr) {
	t.Helper()
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

// at runs f at a host of the bridge.
func at(t *testing.T, b *harness.Bridge, host string, f func() error) {
	t.Helper()
	if err := b.Host(host).Inside(f); err != nil {
		t.Fatalf("%s: %v", host, err)
	}
}

func TestHeldAndRemove(t *testing.T) {
	b := harness.NewBridge(t, map[string]byte{"node": 11})
	var vips []netip.Prefix
	for _, a := range parse(t, vip4, vip6) {
		vips = append(vips, netip.PrefixFrom(a, a.BitLen()))
	}
	held := func(want ...string) {
		t.Helper()
		at(t, b, "node", func() error {
			got, err := vip.Held(harness.Device, vips)
			if err == nil && !slices.Equal(got, parse(t, want...)) {
				t.Errorf("held: %v, want %v", got, want)
			}
			return err
		})
	}
	remove := func() {
		t.Helper()
		at(t, b, "node", func() error { return vip.Remove(harness.Device, vips) })
	}
	remove() // there are none
	held()
	// An address that somebody gave another prefix length is the address all the same.
	b.Shell("node", "ip addr add "+vip4+"/24 dev eth0; ip addr add "+vip6+"/64 dev eth0 nodad; ip addr add 192.0.2.101/32 dev eth0")
	held(vip4, vip6)
	remove()
	held()
	rest := b.Shell("node", "ip -o addr show dev eth0")
	for _, want := range []string{"192.0.2.11/24", "192.0.2.101/32", "2001:db8::11/64"} {
		if !strings.Contains(rest, want) {
			t.Errorf("%s went too: %s", want, rest)
		}
	}
	if _, err := vip.Held("nowhere0", vips); err == nil || !strings.Contains(err.Error(), `"nowhere0"`) {
		t.Errorf("no such interface: %v", err)
	}
	if err := vip.Remove("nowhere0", vips); err == nil {
		t.Error("no such interface: no error")
	}
}

func TestOthers(t *testing.T) {
	b := harness.NewBridge(t, map[string]byte{"node": 11, "peer": 12, "stranger": 66})
	vips, peers := parse(t, vip4, vip6), parse(t, "192.0.2.12")
	mac := strings.TrimSpace(b.Shell("stranger", `ip -o link show dev eth0 | sed 's/.*ether \([^ ]*\).*/\1/'`))
	for _, tc := range []struct {
		owner, addr string // nobody's when empty
		conflict    bool
	}{
		{"", "", false},
		{"node", vip4, false},
		{"peer", vip4, false},
		{"peer", vip6, false},
		{"stranger", vip4, true},
		{"stranger", vip6, true},
	} {
		if tc.owner != "" {
			b.Shell(tc.owner, "ip addr add "+tc.addr+" dev eth0 $(case "+tc.addr+" in *:*) echo nodad;; esac)")
		}
		at(t, b, "node", func() error {
			h, err := vip.Others(t.Context(), harness.Device, vips, peers)
			if err != nil {
				return err
			}
			o, found := h.Stranger, h.Stranger.Addr.IsValid()
			if found != tc.conflict {
				t.Errorf("%s at %q: found %t (%v)", tc.addr, tc.owner, found, o)
			}
			if peer := tc.owner == "peer"; slices.Equal(h.Peers, peers) != peer || !peer && len(h.Peers) > 0 {
				t.Errorf("%s at %q: peers that have it: %v", tc.addr, tc.owner, h.Peers)
			}
			if found && (o.MAC.String() != mac || o.Addr.String() != tc.addr || !strings.Contains(o.String(), mac)) {
				t.Errorf("%s at %q: %v, want %s", tc.addr, tc.owner, o, mac)
			}
			return nil
		})
		if tc.owner != "" {
			b.Shell(tc.owner, "ip addr flush dev eth0 to "+tc.addr)
		}
	}
	at(t, b, "node", func() error {
		if _, err := vip.Others(t.Context(), "lo", vips, peers); err == nil || !strings.Contains(err.Error(), "lo is no Ethernet") {
			t.Errorf("loopback: %v", err)
		}
		return nil
	})
}

func answer(a netip.Addr, mac net.HardwareAddr) vip.Owner { return vip.Owner{Addr: a, MAC: mac} }

func TestJudge(t *testing.T) {
	own, peer, other := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}, net.HardwareAddr{2, 0, 0, 0, 0, 3}
	v, p := parse(t, vip4)[0], parse(t, "192.0.2.12")[0]
	for name, tc := range map[string]struct {
		answers []vip.Owner
		want    net.HardwareAddr
		peer    bool
	}{
		"nobody":                            {nil, nil, false},
		"oneself":                           {[]vip.Owner{answer(v, own)}, nil, false},
		"a peer, which answers later":       {[]vip.Owner{answer(v, peer), answer(p, peer)}, nil, true},
		"a peer that answers three times":   {[]vip.Owner{answer(p, peer), answer(v, peer), answer(v, peer), answer(p, peer), answer(v, peer)}, nil, true},
		"a peer that does not answer":       {[]vip.Owner{answer(v, peer)}, peer, false},
		"a stranger beside a peer":          {[]vip.Owner{answer(v, peer), answer(p, peer), answer(v, other)}, other, true},
		"a stranger with an own address":    {[]vip.Owner{answer(parse(t, "192.0.2.66")[0], other)}, nil, false},
		"a stranger with the peer's and it": {[]vip.Owner{answer(p, other), answer(v, other)}, nil, true},
	} {
		h := vip.Judge(tc.answers, []netip.Addr{v}, []netip.Addr{p}, []net.HardwareAddr{own})
		if h.Stranger.Addr.IsValid() != (tc.want != nil) || !slices.Equal(h.Stranger.MAC, tc.want) {
			t.Errorf("%s: %v", name, h)
		}
		if tc.peer != slices.Equal(h.Peers, []netip.Addr{p}) || !tc.peer && len(h.Peers) > 0 {
			t.Errorf("%s: peers that have it: %v", name, h.Peers)
		}
	}
}

// TestParsers: an answer is read, everything shorter and every other kind of packet is not.
func TestParsers(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	four, six := parse(t, vip4)[0], parse(t, vip6)[0]
	reply := vip.ArpProbe(four, mac)
	if _, ok := vip.ParseARP(reply); ok {
		t.Error("a probe tells nobody's address")
	}
	copy(reply[14:18], four.AsSlice())
	if o, ok := vip.ParseARP(reply); !ok || o.Addr != four || !slices.Equal(o.MAC, mac) {
		t.Errorf("an ARP packet: %v, %t", o, ok)
	}
	for i := range reply {
		if _, ok := vip.ParseARP(reply[:i]); ok {
			t.Errorf("%d octets of ARP", i)
		}
	}
	ns := vip.Solicitation(six)
	if _, ok := vip.ParseAdvertisement(ns, mac); ok {
		t.Error("a solicitation is no advertisement")
	}
	na := slices.Clone(ns)
	na[40] = 136
	if _, ok := vip.ParseAdvertisement(na, mac); ok {
		t.Error("a wrong checksum was taken")
	}
	na[42] -= 1 // 136 instead of 135 in the high octet: the complement goes down by one there
	if o, ok := vip.ParseAdvertisement(na, mac); !ok || o.Addr != six || !slices.Equal(o.MAC, mac) {
		t.Errorf("an advertisement: %v, %t", o, ok)
	}
	for i := range na {
		if _, ok := vip.ParseAdvertisement(na[:i], mac); ok {
			t.Errorf("%d octets of an advertisement", i)
		}
	}
}

// FuzzParsers: whatever comes from the wire, nothing panics.
func FuzzParsers(f *testing.F) {
	six, err := netip.ParseAddr(vip6)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(vip.Solicitation(six))
	f.Add(vip.ArpProbe(netip.AddrFrom4([4]byte{192, 0, 2, 1}), make(net.HardwareAddr, 6)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func() (vip.Owner, bool){
			func() (vip.Owner, bool) { return vip.ParseARP(b) },
			func() (vip.Owner, bool) { return vip.ParseAdvertisement(b, make([]byte, 6)) },
		} {
			if o, ok := parse(); ok && (len(o.MAC) != 6 || !o.Addr.IsValid()) {
				t.Errorf("%v", o)
			}
		}
	})
}

// send sends one VRRP packet of a host to another.
func send(t *testing.T, b *harness.Bridge, from string, to netip.Addr) {
	t.Helper()
	at(t, b, from, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 112)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, []byte("not really VRRP"), 0, &unix.SockaddrInet4{Addr: to.As4()})
	})
}

// TestFilter: with the filter only peers' VRRP comes in, without it everybody's.
func TestFilter(t *testing.T) {
	b := harness.NewBridge(t, map[string]byte{"node": 11, "peer": 12, "stranger": 66})
	a, peer, stranger := b.Host("node").V4, b.Host("peer").V4, b.Host("stranger").V4
	var raw int
	at(t, b, "node", func() (err error) {
		raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 112)
		return err
	})
	defer unix.Close(raw)
	if err := unix.SetsockoptTimeval(raw, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}); err != nil {
		t.Fatal(err)
	}
	// comes expects the next packet from a host.
	comes := func(want netip.Addr) {
		t.Helper()
		_, from, err := unix.Recvfrom(raw, make([]byte, 100), 0)
		if err != nil {
			t.Fatalf("nothing from %s: %v", want, err)
		}
		if f, ok := from.(*unix.SockaddrInet4); !ok || netip.AddrFrom4(f.Addr) != want {
			t.Fatalf("a packet from %v, want one from %s", from, want)
		}
	}
	send(t, b, "stranger", a)
	comes(stranger)
	var remove func() error
	for range 2 { // the second replaces the first
		at(t, b, "node", func() (err error) {
			remove, err = vip.Filter(t.Context(), harness.Device, []netip.Addr{peer, b.Host("peer").V6})
			return err
		})
	}
	dropped := func() (d vip.Dropped) {
		t.Helper()
		at(t, b, "node", func() (err error) { d, err = vip.Strangers(t.Context()); return err })
		return d
	}
	if d := dropped(); d.Packets != 0 || len(d.From) != 0 {
		t.Errorf("before there was a stranger: %+v", d)
	}
	send(t, b, "stranger", a)
	send(t, b, "stranger", a)
	send(t, b, "peer", a)
	comes(peer)
	if d := dropped(); d.Packets != 2 || !slices.Equal(d.From, []netip.Addr{stranger}) {
		t.Errorf("dropped: %+v, want 2 packets from %s", d, stranger)
	}
	at(t, b, "node", remove)
	at(t, b, "node", func() error {
		if _, err := vip.Strangers(t.Context()); err == nil || !strings.Contains(err.Error(), "nft") {
			t.Errorf("without the filter: %v", err)
		}
		return nil
	})
	send(t, b, "stranger", a)
	comes(stranger)
	if out := b.Shell("node", "nft list tables"); out != "" {
		t.Errorf("left: %s", out)
	}
}

// TestParseDropped: what nft lists is read; a table that is another's is an error.
func TestParseDropped(t *testing.T) {
	const set = `{"set": {"family": "inet", "name": "strangers%s", "table": "zonekeeper", "elem": [%s]}}`
	elem := func(a string) string { return `{"elem": {"val": "` + a + `", "expires": 599}}` }
	for name, tc := range map[string]struct {
		text string
		want string
	}{
		"nobody": {`{"counter": {"name": "strangers", "packets": 0, "bytes": 0}}, {"set": {"name": "strangers4"}}`, "0 []"},
		"of both families": {`{"counter": {"name": "strangers", "packets": 7}}, ` + fmt.Sprintf(set, "6", elem("2001:db8::1")) + ", " +
			fmt.Sprintf(set, "4", elem("192.0.2.9")+","+elem("192.0.2.1")), "7 [192.0.2.1 192.0.2.9 2001:db8::1]"},
		"others' sets":       {`{"counter": {"name": "strangers", "packets": 7}}, {"set": {"name": "x", "elem": [` + elem("192.0.2.9") + `]}}`, "7 []"},
		"no counter":         {`{"counter": {"name": "x", "packets": 7}}`, "restart this front"},
		"no table":           {``, "restart this front"},
		"not what nft lists": {`]`, "what nft says"},
	} {
		d, err := vip.ParseDropped([]byte(`{"nftables": [` + tc.text + `]}`))
		got := fmt.Sprint(d.Packets, d.From)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tc.want) {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestFilterWithoutProgram: the error says what to do.
func TestFilterWithoutProgram(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	if _, err := vip.Filter(t.Context(), "eth0", nil); err == nil || !strings.Contains(err.Error(), "install nftables") {
		t.Errorf("got %v", err)
	}
}

// TestHoldBack: new connections wait, open ones go on, and with the filter gone everybody is let in.
func TestHoldBack(t *testing.T) {
	b := harness.NewBridge(t, map[string]byte{"node": 11, "client": 12})
	node := b.Host("node")
	var l4, l6 net.Listener
	var remove func() error
	at(t, b, "node", func() (err error) {
		if l4, err = net.Listen("tcp", netip.AddrPortFrom(node.V4, 53).String()); err != nil { //nolint:noctx // at once
			return err
		}
		if l6, err = net.Listen("tcp", netip.AddrPortFrom(node.V6, 53).String()); err != nil { //nolint:noctx // at once
			return err
		}
		remove, err = vip.Filter(t.Context(), harness.Device, []netip.Addr{b.Host("client").V4})
		return err
	})
	for _, l := range []net.Listener{l4, l6} {
		t.Cleanup(func() { _ = l.Close() })
	}
	dial := func(l net.Listener) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return b.DialContext("client")(ctx, "tcp", l.Addr().String())
	}
	open := map[net.Listener]net.Conn{}
	for _, l := range []net.Listener{l4, l6} {
		c, err := dial(l)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open[l] = c
	}
	at(t, b, "node", func() error { return vip.HoldBack(t.Context(), []netip.Addr{node.V4, node.V6}, 53) })
	for l, c := range open {
		if late, err := dial(l); err == nil {
			_ = late.Close()
			t.Errorf("%s: a new connection came in", l.Addr())
		} else if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: a new connection was refused: %v", l.Addr(), err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if n, err := server.Read(make([]byte, 1)); n != 1 {
			t.Errorf("%s: the open connection: %v", l.Addr(), err)
		}
		_ = server.Close()
	}
	at(t, b, "node", remove)
	for l := range open {
		c, err := dial(l)
		if err != nil {
			t.Errorf("%s: after it: %v", l.Addr(), err)
			continue
		}
		_ = c.Close()
	}
	at(t, b, "node", func() error {
		if err := vip.HoldBack(t.Context(), []netip.Addr{node.V4}, 53); err == nil {
			t.Error("without the filter nothing is held back, and nobody says so")
		}
		return nil
	})
}

// advertise sends VRRP packets, of no content, from a host until ctx ends; one at least.
func advertise(ctx context.Context, t *testing.T, b *harness.Bridge, host string, to netip.Addr) {
	t.Helper()
	err := b.Host(host).Inside(func() error {
		network := "ip4:112"
		if to.Is6() {
			network = "ip6:112"
		}
		c, err := net.ListenPacket(network, "") //nolint:noctx // a test
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		for {
			if _, err := c.WriteTo([]byte{0x31, 53, 100, 0}, &net.IPAddr{IP: to.AsSlice()}); err != nil || ctx.Err() != nil {
				return err
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	if err != nil {
		t.Errorf("%s: %v", host, err)
	}
}

// TestPeers: the filter lets the peers through, those of the moment, and their advertisements are heard.
func TestPeers(t *testing.T) {
	b := harness.NewBridge(t, map[string]byte{"node": 11, "old": 12, "new": 13})
	node, peers := parse(t, "192.0.2.11", "2001:db8::11"), parse(t, "192.0.2.12", "2001:db8::12")
	at(t, b, "node", func() error {
		_, err := vip.Filter(t.Context(), harness.Device, peers)
		return err
	})
	// heard is the first whose packet comes in while both hosts send some, by each family.
	heard := func(from []netip.Addr) (out []string) {
		for _, own := range node {
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			var sending sync.WaitGroup
			for _, host := range []string{"old", "new"} {
				sending.Go(func() { advertise(ctx, t, b, host, own) })
			}
			at(t, b, "node", func() error {
				a, err := vip.Advertised(ctx, own, from)
				out = append(out, a.String())
				return err
			})
			stop()
			sending.Wait()
		}
		return out
	}
	all := parse(t, "192.0.2.12", "2001:db8::12", "192.0.2.13", "2001:db8::13")
	if got := heard(all); !slices.Equal(got, []string{"192.0.2.12", "2001:db8::12"}) {
		t.Errorf("heard %v", got)
	}
	at(t, b, "node", func() error { return vip.SetPeers(t.Context(), all[2:]) })
	if got := heard(all); !slices.Equal(got, []string{"192.0.2.13", "2001:db8::13"}) {
		t.Errorf("after the peers were replaced: heard %v", got)
	}
	at(t, b, "node", func() error {
		d, err := vip.Strangers(t.Context())
		if err == nil && (d.Packets == 0 || !slices.Equal(d.From, slices.SortedFunc(slices.Values(all), netip.Addr.Compare))) {
			t.Errorf("strangers: %+v, want each of %v for the time that it was one", d, all)
		}
		return err
	})
	// Nobody is heard: the end of the context, and not an error of the socket.
	at(t, b, "node", func() error {
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		if a, err := vip.Advertised(ctx, node[0], all); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody sends: %v, %v", a, err)
		}
		return nil
	})
}
