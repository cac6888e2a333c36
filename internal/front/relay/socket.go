package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a UDP socket of which datagrams are read and written many at a time.
type socket struct {
	conn *net.UDPConn
	raw  syscall.RawConn
}

func newSocket(conn *net.UDPConn) (socket, error) {
	raw, err := conn.SyscallConn()
	return socket{conn, raw}, err
}

// family is the network's name for sockets of exactly one address family.
func family(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}

// listen binds a client socket.
func listen(c *Config, a netip.AddrPort) (socket, error) {
	conn, err := bind(c, a, c.Freebind)
	if c.Freebind && errors.Is(err, unix.EPERM) {
		c.Logger.Warn("no IP_TRANSPARENT: answers that come after an address has left this node are lost; give the process CAP_NET_ADMIN", "address", a)
		conn, err = bind(c, a, false)
	}
	if err != nil {
		hint := ""
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			hint = ": another program, or a relay of another user, has it"
		case errors.Is(err, unix.EADDRNOTAVAIL):
			hint = ": this node does not hold it; set Freebind"
		case errors.Is(err, unix.EACCES):
			hint = ": ports below 1024 need CAP_NET_BIND_SERVICE"
		}
		return socket{}, fmt.Errorf("relay: listen on %v: %w%s", a, err, hint)
	}
	return newSocket(conn)
}

func bind(c *Config, a netip.AddrPort, transparent bool) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		ctlErr := rc.Control(func(fd uintptr) { err = clientOptions(int(fd), c, a.Addr(), transparent) })
		return errors.Join(ctlErr, err)
	}}
	// The sockets of one address are bound one after another in no time: nothing to wait for.
	p, err := lc.ListenPacket(context.Background(), family(a.Addr()), a.String())
	if err != nil {
		return nil, err
	}
	return p.(*net.UDPConn), nil
}

func clientOptions(fd int, c *Config, a netip.Addr, transparent bool) error {
	type option struct {
		name              string
		level, opt, value int
	}
	options := []option{{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1}}
	switch {
	case transparent && a.Is4():
		options = append(options, option{"IP_TRANSPARENT", unix.SOL_IP, unix.IP_TRANSPARENT, 1})
	case transparent:
		options = append(options, option{"IPV6_TRANSPARENT", unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1})
	case c.Freebind && a.Is4():
		options = append(options, option{"IP_FREEBIND", unix.SOL_IP, unix.IP_FREEBIND, 1})
	case c.Freebind:
		options = append(options, option{"IPV6_FREEBIND", unix.SOL_IPV6, unix.IPV6_FREEBIND, 1})
	}
	switch {
	case c.PacketInfo && a.Is4():
		options = append(options, option{"IP_PKTINFO", unix.SOL_IP, unix.IP_PKTINFO, 1})
	case c.PacketInfo:
		options = append(options, option{"IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
	}
	return buffers(fd, c.BufferSize)
}

// buffers asks for more than net.core.rmem_max and wmem_max by force, which needs CAP_NET_ADMIN; else the kernel cuts it.
func buffers(fd, size int) error {
	for _, b := range []struct {
		name        string
		force, asks int
	}{
		{"SO_RCVBUF", unix.SO_RCVBUFFORCE, unix.SO_RCVBUF},
		{"SO_SNDBUF", unix.SO_SNDBUFFORCE, unix.SO_SNDBUF},
	} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.force, size) == nil {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.asks, size); err != nil {
			return fmt.Errorf("%s %d: %w", b.name, size, err)
		}
	}
	return nil
}

// connect opens a socket to a primary.
func connect(c *Config, to netip.AddrPort) (socket, error) {
	conn, err := net.DialUDP(family(to.Addr()), nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return socket{}, fmt.Errorf("relay: open a socket to %v: %w", to, err)
	}
	s, err := newSocket(conn)
	if err == nil {
		ctlErr := s.raw.Control(func(fd uintptr) { err = buffers(int(fd), c.BufferSize) })
		err = errors.Join(ctlErr, err)
	}
	if err != nil {
		conn.Close()
		return socket{}, fmt.Errorf("relay: open a socket to %v: %w", to, err)
	}
	return s, nil
}

// sockaddr is an address as the kernel writes it; comparable, and without allocations.
type sockaddr struct {
	raw unix.RawSockaddrInet6 // or RawSockaddrInet4 at its start
	len uint32
}

// addrPort is the address; an IPv6 zone only where it matters.
func (s *sockaddr) addrPort() netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&s.raw.Port))
	p := uint16(port[0])<<8 | uint16(port[1])
	if s.raw.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw)).Addr), p)
	}
	a := netip.AddrFrom16(s.raw.Addr)
	if s.raw.Scope_id != 0 && a.IsLinkLocalUnicast() {
		a = a.WithZone(strconv.FormatUint(uint64(s.raw.Scope_id), 10))
	}
	return netip.AddrPortFrom(a.Unmap(), p)
}

// controlSize fits one packet information message of either family.
const controlSize = 64

// asked is the local address that a control message names; invalid when there is none.
func asked(control []byte) netip.Addr {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		n := int(h.Len)
		if n < unix.SizeofCmsghdr || n > len(control) {
			break
		}
		data := control[unix.CmsgLen(0):n]
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Addr)
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16((*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0])).Addr)
		}
		control = control[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(control)):]
	}
	return netip.Addr{}
}

// putSource writes the control message that lets an answer leave from a; it returns its size.
func putSource(b *[controlSize]byte, a netip.Addr, scope uint32) int {
	*b = [controlSize]byte{}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	data := unsafe.Pointer(&b[unix.CmsgLen(0)])
	if a.Is4() {
		h.Level, h.Type = unix.SOL_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		(*unix.Inet4Pktinfo)(data).Spec_dst = a.As4()
		return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	}
	h.Level, h.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	info := (*unix.Inet6Pktinfo)(data)
	info.Addr, info.Ifindex = a.As16(), scope
	return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
}
