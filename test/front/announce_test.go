package front

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// announcement is a packet by which a host tells its neighbors, unasked, that an address is at its link-layer address.
type announcement struct {
	at   time.Time
	mac  string
	addr netip.Addr
}

// listener collects the announcements that a host hears.
type listener struct {
	mu    sync.Mutex
	heard []announcement
}

// announcements listens at a host until the part ends.
func (s *site) announcements(host string) *listener {
	s.t.Helper()
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	var fd int
	err := s.Host(host).Inside(func() (err error) {
		dev, err := net.InterfaceByName(harness.Device)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index}))
	})
	if err != nil {
		s.t.Fatal(err)
	}
	l := &listener{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for b := make([]byte, 2048); ctx.Err() == nil; {
			n, _, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				continue // nothing came
			}
			if addr, ok := announced(b[:n]); ok {
				l.mu.Lock()
				l.heard = append(l.heard, announcement{time.Now(), net.HardwareAddr(b[6:12]).String(), addr})
				l.mu.Unlock()
			}
		}
	})
	s.t.Cleanup(func() { cancel(); wg.Wait(); _ = unix.Close(fd) })
	return l
}

// announced reads the address of a gratuitous ARP packet (RFC 5944, section 4.6), or of an unsolicited neighbor advertisement that
// overrides what neighbors know (RFC 4861, section 7.2.6).
func announced(frame []byte) (a netip.Addr, ok bool) {
	if len(frame) < 42 {
		return a, false
	}
	switch p := frame[14:]; binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		return netip.AddrFrom4([4]byte(p[14:18])), slices.Equal(p[14:18], p[24:28])
	case unix.ETH_P_IPV6:
		if len(p) < 64 || p[6] != unix.IPPROTO_ICMPV6 || p[40] != 136 {
			return a, false
		}
		const solicited, override = 0x40, 0x20
		return netip.AddrFrom16([16]byte(p[48:64])), p[44]&(solicited|override) == override
	}
	return a, false
}

// of gives what a host has announced of an address, since a moment.
func (l *listener) of(mac, addr string, since time.Time) (at []time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.heard {
		if h.mac == mac && h.addr.String() == addr && h.at.After(since) {
			at = append(at, h.at)
		}
	}
	return at
}

// mac is the link-layer address of a host.
func (s *site) mac(host string) (mac string) {
	s.t.Helper()
	err := s.Host(host).Inside(func() error {
		dev, err := net.InterfaceByName(harness.Device)
		if err == nil {
			mac = dev.HardwareAddr.String()
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return mac
}

// announcements of the new holder: at once three, because one may be lost; a second later again; then every second, as configured
// (vip.arp_refresh), for neighbors that were away. For both families.
func announcements(t *testing.T, s *site) {
	const burst, least, length = 3, 3 + 3 + 2, 2 * time.Second
	l := s.announcements("client")
	from := s.holder()
	began := time.Now()
	kill(s.nodes[from].processes("keepalived")[:1]...)
	complete := func(name, addr string) error {
		at := l.of(s.mac(name), addr, began)
		if len(at) < least || at[len(at)-1].Sub(at[0]) < length {
			return fmt.Errorf("%s has announced %s %d times", name, addr, len(at))
		}
		return nil
	}
	var to string
	s.until(patient, "the new holder announces the addresses again and again", func(context.Context) error {
		var errs []error
		for _, name := range nodeNames() {
			if name == from {
				continue
			}
			err := errors.Join(complete(name, vip4), complete(name, vip6))
			if err == nil {
				to = name
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	for _, addr := range []string{vip4, vip6} {
		at := l.of(s.mac(to), addr, began)
		var after []time.Duration
		for _, x := range at {
			after = append(after, x.Sub(at[0]).Round(time.Millisecond))
		}
		t.Logf("%s, which took %s from %s, announced it at %v", to, addr, from, after)
		if after[burst-1] > 300*time.Millisecond {
			s.quiet("%s: the first %d announcements took %v", addr, burst, after[burst-1])
		}
		for i := 1; i < len(after); i++ {
			if pause := after[i] - after[i-1]; pause > 1500*time.Millisecond {
				s.quiet("%s was not announced for %v", addr, pause)
			}
		}
	}
	s.settled()
}
