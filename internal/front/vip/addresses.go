package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Held returns those of the VIPs that the interface has now.
func Held(iface string, vips []netip.Prefix) ([]netip.Addr, error) {
	dev, err := device(iface)
	if err != nil {
		return nil, err
	}
	found, err := present(dev, vips)
	if err != nil {
		return nil, err
	}
	held := make([]netip.Addr, 0, len(found))
	for _, p := range found {
		held = append(held, p.Addr())
	}
	return held, nil
}

// Remove takes those of the VIPs that the interface has away from it. An address that vanishes meanwhile is no error.
func Remove(iface string, vips []netip.Prefix) error {
	dev, err := device(iface)
	if err != nil {
		return err
	}
	found, err := present(dev, vips)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range found {
		if err := deleteAddress(dev.Index, p); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("take %s away from %s: %w; do it by hand: ip addr del %[1]s dev %[2]s", p, iface, err))
		}
	}
	return errors.Join(errs...)
}

func device(name string) (*net.Interface, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w; see: ip link", name, err)
	}
	return dev, nil
}

// present returns the VIPs that are on the interface, with the length of the prefix that they have there.
func present(dev *net.Interface, vips []netip.Prefix) ([]netip.Prefix, error) {
	list, err := dev.Addrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", dev.Name, err)
	}
	var found []netip.Prefix
	for _, a := range list {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		addr = addr.Unmap()
		if slices.ContainsFunc(vips, func(v netip.Prefix) bool { return v.Addr() == addr }) {
			ones, _ := n.Mask.Size()
			found = append(found, netip.PrefixFrom(addr, ones))
		}
	}
	return found, nil
}

// deleteAddress is RTM_DELADDR of rtnetlink(7): struct nlmsghdr, struct ifaddrmsg, one attribute IFA_LOCAL. Deleting an
// address that is the first of its prefix would delete the others of the prefix with it (promote_secondaries is 0); a VIP
// comes later than the node's own, so it never is.
func deleteAddress(index int, p netip.Prefix) error {
	addr := p.Addr().AsSlice()
	family := byte(unix.AF_INET)
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	size := unix.NLMSG_HDRLEN + unix.SizeofIfAddrmsg + unix.SizeofRtAttr + len(addr)
	b := make([]byte, 0, size)
	b = binary.NativeEndian.AppendUint32(b, uint32(size)) //nolint:gosec // below 100
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_DELADDR)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = binary.NativeEndian.AppendUint32(b, 1)                                   // sequence number
	b = binary.NativeEndian.AppendUint32(b, 0)                                   // the kernel's
	b = append(b, family, byte(p.Bits()), 0, 0)                                  // ifaddrmsg: family, prefix length, flags, scope
	b = binary.NativeEndian.AppendUint32(b, uint32(index))                       //nolint:gosec // an interface's
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(addr))) //nolint:gosec // 8 or 20
	b = binary.NativeEndian.AppendUint16(b, unix.IFA_LOCAL)
	b = append(b, addr...)

	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing is buffered
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	var answer [4096]byte
	n, _, err := unix.Recvfrom(fd, answer[:], 0)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	// The acknowledgement is an NLMSG_ERROR with the negative error number, 0 for success.
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("netlink: %d octets that are no acknowledgement", n)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); code != 0 { //nolint:gosec // that is its type
		return unix.Errno(-code)
	}
	return nil
}
