package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Owner is a host that answers for an address.
type Owner struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
}

// String names it for logs.
func (o Owner) String() string { return fmt.Sprintf("%s is used by %s", o.Addr, o.MAC) }

const (
	probes     = 3
	probeEvery = 100 * time.Millisecond
	// lateAnswers bounds what is read of a socket after its time: on a busy network there is always more.
	lateAnswers = 100
)

// Others asks the network who else has the VIPs: ARP probes (RFC 5227) and neighbor solicitations of duplicate address
// detection (RFC 4862, section 5.4), three of each, 100 ms apart. An answer from a link-layer address that is neither this
// node's nor a peer's is a conflict; peers' are learned by asking for their node addresses in the same way. It needs
// CAP_NET_RAW and takes 300 ms.
func Others(ctx context.Context, iface string, vips, peers []netip.Addr) (Holders, error) {
	answers, err := ask(ctx, iface, slices.Concat(vips, peers))
	if err != nil {
		return Holders{}, fmt.Errorf("who has the addresses on %s: %w", iface, err)
	}
	known, err := ownMACs()
	if err != nil {
		return Holders{}, err
	}
	return judge(answers, vips, peers, known), nil
}

// Holders are the others that have a VIP.
type Holders struct {
	// Stranger is the first that is nobody known: a conflict. The zero Owner: there is none.
	Stranger Owner
	// Peers are the node addresses of the peers that have a VIP.
	Peers []netip.Addr
}

// judge decides whose the answers are. own are this node's link-layer addresses.
func judge(answers []Owner, vips, peers []netip.Addr, own []net.HardwareAddr) (h Holders) {
	is := func(mac net.HardwareAddr) func(net.HardwareAddr) bool {
		return func(other net.HardwareAddr) bool { return slices.Equal(mac, other) }
	}
	for _, a := range answers {
		if !slices.Contains(vips, a.Addr) || slices.ContainsFunc(own, is(a.MAC)) {
			continue
		}
		i := slices.IndexFunc(answers, func(p Owner) bool { return slices.Contains(peers, p.Addr) && slices.Equal(p.MAC, a.MAC) })
		switch {
		case i < 0 && !h.Stranger.Addr.IsValid():
			h.Stranger = a
		case i >= 0 && !slices.Contains(h.Peers, answers[i].Addr):
			h.Peers = append(h.Peers, answers[i].Addr)
		}
	}
	return h
}

// ownMACs are those of all interfaces: a node with two in one network answers itself.
func ownMACs() ([]net.HardwareAddr, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("interfaces of this node: %w", err)
	}
	var out []net.HardwareAddr
	for _, i := range list {
		if len(i.HardwareAddr) > 0 {
			out = append(out, i.HardwareAddr)
		}
	}
	return out, nil
}

// ask sends the probes and collects what comes back.
func ask(ctx context.Context, iface string, addrs []netip.Addr) (answers []Owner, err error) {
	dev, err := device(iface)
	if err != nil {
		return nil, err
	}
	if len(dev.HardwareAddr) != 6 {
		return nil, fmt.Errorf("%s is no Ethernet interface, so nobody can be asked there; name the interface that has the node's address", iface)
	}
	p := prober{dev: dev}
	defer p.close()
	if err := p.open(); err != nil {
		return nil, err
	}
	for range probes {
		for _, a := range addrs {
			if err := p.send(a); err != nil {
				return nil, err
			}
		}
		got, err := p.receive(ctx, time.Now().Add(probeEvery))
		if err != nil {
			return nil, err
		}
		answers = append(answers, got...)
	}
	return answers, nil
}

// prober has one packet socket for each protocol; the kernel writes and strips the Ethernet header (SOCK_DGRAM).
type prober struct {
	dev *net.Interface
	fds []int
}

func (p *prober) open() error {
	for _, protocol := range []uint16{unix.ETH_P_ARP, unix.ETH_P_IPV6} {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // nothing comes in before bind
		if err != nil {
			return fmt.Errorf("packet socket: %w; run as root or with CAP_NET_RAW", err)
		}
		p.fds = append(p.fds, fd)
		if protocol == unix.ETH_P_IPV6 {
			if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, advertisementsOnly()); err != nil {
				return fmt.Errorf("packet socket: filter: %w", err)
			}
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap(protocol), Ifindex: p.dev.Index}); err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
	}
	return nil
}

// advertisementsOnly is a filter in the kernel: a holder under load receives much IPv6 that is none of ours.
func advertisementsOnly() *unix.SockFprog {
	const (
		nextHeader, icmpType = 6, 40
		all                  = 1 << 16
	)
	f := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: nextHeader},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolICMPv6, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: icmpType},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: neighborAdvertisement, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: all},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]} //nolint:gosec // six
}

func (p *prober) close() {
	for _, fd := range p.fds {
		_ = unix.Close(fd) // nothing is buffered
	}
}

func (p *prober) send(a netip.Addr) error {
	fd, to := p.fds[0], unix.SockaddrLinklayer{Protocol: swap(unix.ETH_P_ARP), Ifindex: p.dev.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	packet := arpProbe(a, p.dev.HardwareAddr)
	if a.Is6() {
		fd, to.Protocol = p.fds[1], swap(unix.ETH_P_IPV6)
		group := solicitedNode(a).As16()
		to.Addr = [8]byte{0x33, 0x33, group[12], group[13], group[14], group[15]} // RFC 2464, section 7
		packet = solicitation(a)
	}
	if err := unix.Sendto(fd, packet, 0, &to); err != nil && !errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("ask for %s: %w; see: ip link show %s", a, err, p.dev.Name)
	}
	return nil
}

// receive collects answers until the deadline. What is in a socket when the deadline passes is still read: on a busy
// machine this process may be late, and the answer was not.
func (p *prober) receive(ctx context.Context, deadline time.Time) (answers []Owner, err error) {
	buf := make([]byte, 2048)
	for late := 0; late < lateAnswers; {
		poll := make([]unix.PollFd, len(p.fds))
		for i, fd := range p.fds {
			poll[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} //nolint:gosec // descriptors are small
		}
		left := max(0, time.Until(deadline).Milliseconds())
		if left == 0 {
			late++
		}
		n, err := unix.Poll(poll, int(left))
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("wait for answers: %w", err)
		case n == 0:
			return answers, nil
		}
		for i, fd := range p.fds {
			if poll[i].Revents == 0 {
				continue
			}
			k, from, err := unix.Recvfrom(fd, buf, 0)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENETDOWN) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read answers: %w", err)
			}
			var o Owner
			var ok bool
			if i == 0 {
				o, ok = parseARP(buf[:k])
			} else if ll, is := from.(*unix.SockaddrLinklayer); is {
				o, ok = parseAdvertisement(buf[:k], ll.Addr[:min(int(ll.Halen), len(ll.Addr))])
			}
			if ok {
				answers = append(answers, o)
			}
		}
	}
	return answers, nil
}
