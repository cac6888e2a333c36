package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"
)

var (
	key        = []byte("a key shared by fronts and primaries")
	clientAddr = netip.MustParseAddrPort("192.0.2.77:40000")
	client6    = netip.MustParseAddrPort("[2001:db8::77]:40000")
	serverAddr = netip.MustParseAddrPort("198.51.100.1:53")
	server6    = netip.MustParseAddrPort("[2001:db8::1]:53")
)

func TestParse(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	v2 := func(key []byte, at time.Time, payload []byte) []byte {
		return Append(nil, clientAddr, serverAddr, true, key, at, payload)
	}
	edit := func(b []byte, f func([]byte)) []byte { b = bytes.Clone(b); f(b); return b }
	payload := []byte("a DNS message")
	proven := v2(key, now, payload)
	withTLV := func(b []byte, tlv ...byte) []byte {
		b = append(bytes.Clone(b), tlv...)
		binary.BigEndian.PutUint16(b[14:], uint16(len(b)-16))
		return b
	}
	for _, tc := range []struct {
		name   string
		header []byte
		client netip.AddrPort
		proven bool
		bad    bool
	}{
		{name: "version 2", header: v2(nil, now, nil), client: clientAddr},
		{name: "version 2, IPv6", header: Append(nil, client6, server6, true, nil, now, nil), client: client6},
		{name: "unknown TLV", header: withTLV(v2(nil, now, nil), 0x04, 0, 2, 1, 2), client: clientAddr},
		{name: "proven", header: proven, client: clientAddr, proven: true},
		{name: "proven, 30 s old", header: v2(key, now.Add(-30*time.Second), payload), client: clientAddr, proven: true},
		{name: "proven, 31 s old", header: v2(key, now.Add(-31*time.Second), payload), bad: true},
		{name: "proven, 31 s ahead", header: v2(key, now.Add(31*time.Second), payload), bad: true},
		{name: "another key", header: v2([]byte("another key, not that of the primaries"), now, payload), bad: true},
		{name: "another message", header: v2(key, now, []byte("a spoofed one")), bad: true},
		{name: "another address", header: edit(proven, func(b []byte) { b[19]++ }), bad: true},
		{name: "another transport", header: edit(proven, func(b []byte) { b[13] = 0x11 }), bad: true},
		{name: "TLV behind the MAC", header: withTLV(proven, 0x04, 0, 0), bad: true},
		{name: "MAC of another length", header: withTLV(v2(nil, now, nil), macType, 0, 1, 0), bad: true},
		{name: "TLV cut off", header: withTLV(v2(nil, now, nil), 0x04, 0, 9), bad: true},
		{name: "LOCAL", header: edit(v2(nil, now, nil), func(b []byte) { b[12] = 0x20 })},
		{name: "version 3", header: edit(v2(nil, now, nil), func(b []byte) { b[12] = 0x31 }), bad: true},
		{name: "command 2", header: edit(v2(nil, now, nil), func(b []byte) { b[12] = 0x22 }), bad: true},
		{name: "family AF_UNIX", header: edit(v2(nil, now, nil), func(b []byte) { b[13] = 0x31 }), bad: true},
		{name: "IPv6 in the length of IPv4", header: edit(v2(nil, now, nil), func(b []byte) { b[13] = 0x21 }), bad: true},
		{name: "length beyond the datagram", header: edit(v2(nil, now, nil), func(b []byte) { b[14] = 1 }), bad: true},
		{name: "none", header: nil, bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := Parse(append(bytes.Clone(tc.header), payload...), nil, Keys{key}, now)
			if (err != nil) != tc.bad || (err != nil && !errors.Is(err, Err)) {
				t.Fatalf("error %v", err)
			}
			if err == nil && (p.Client != tc.client || p.Proven != tc.proven || p.Length != len(tc.header)) {
				t.Errorf("%+v", p)
			}
		})
	}
	t.Run("no key here", func(t *testing.T) {
		if p, err := Parse(append(bytes.Clone(proven), payload...), nil, nil, now); err != nil || p.Proven {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestRead(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	for _, tc := range []struct {
		header string
		client string
		bad    bool
	}{
		{header: "PROXY TCP4 192.0.2.77 198.51.100.1 40000 53\r\n", client: "192.0.2.77:40000"},
		{header: "PROXY TCP6 2001:db8::77 2001:db8::1 40000 53\r\n", client: "[2001:db8::77]:40000"},
		{header: "PROXY UNKNOWN\r\n"},
		{header: "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"},
		{header: string(Append(nil, clientAddr, serverAddr, false, key, now, nil)), client: clientAddr.String()},
		{header: "PROXY TCP4 2001:db8::77 2001:db8::1 40000 53\r\n", bad: true},
		{header: "PROXY TCP4 192.0.2.77 198.51.100.1 40000\r\n", bad: true},
		{header: "PROXY TCP4 192.0.2.77 198.51.100.1 70000 53\r\n", bad: true},
		{header: "PROXY TCP4 " + fmt.Sprintf("%0120d", 1) + "\r\n", bad: true},
		{header: "PROXY TCP4 192.0", bad: true},
		{header: "\x00\x1dsome DNS message or other text", bad: true},
		{header: signature + "\x21\x11\xff\xff", bad: true},
		{header: signature + "\x21", bad: true},
		{header: "", bad: true},
	} {
		r := bufio.NewReaderSize(bytes.NewReader([]byte(tc.header+"rest")), 512)
		if tc.bad {
			r = bufio.NewReaderSize(bytes.NewReader([]byte(tc.header)), 512)
		}
		p, err := Read(r, Keys{key}, now)
		if (err != nil) != tc.bad {
			t.Errorf("%q: %v", tc.header, err)
			continue
		}
		if err != nil {
			continue
		}
		got := ""
		if p.Client.IsValid() {
			got = p.Client.String()
		}
		rest, _ := io.ReadAll(r)
		if got != tc.client || string(rest) != "rest" {
			t.Errorf("%q: client %s, rest %q", tc.header, got, rest)
		}
	}
}

// FuzzParse: any octets are read or refused, and what is proven was made with the key.
func FuzzParse(f *testing.F) {
	now := time.Unix(1_790_000_000, 0)
	f.Add(Append(nil, clientAddr, serverAddr, true, key, now, nil))
	f.Add(Append(nil, client6, server6, true, nil, now, nil))
	f.Add([]byte("PROXY TCP4 192.0.2.77 198.51.100.1 40000 53\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b, nil, Keys{key}, now)
		if err == nil && (p.Length < v2Fixed || p.Length > len(b)) {
			t.Fatalf("a header of %d octets in %d", p.Length, len(b))
		}
		if p.Proven && !bytes.Equal(sum(key, b[:p.Length-32], b[p.Length:]), b[p.Length-32:p.Length]) {
			t.Fatal("proven without the key")
		}
		r := bufio.NewReaderSize(bytes.NewReader(b), 512)
		if p, err := Read(r, Keys{key}, now); err == nil && !(Looks(b) && p.Length <= len(b)) {
			t.Fatalf("a header of %d octets in %q", p.Length, b)
		}
	})
}
