package devcluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
)

// Ports of a cluster on base B: the relay has B; primary number i (from 0) has
// B+10(i+1) and the five after it.
const (
	portStep        = 10
	portsPerCluster = 6 * portStep

	offsetDNS         = 0 // endpoint
	offsetAdmin       = 1
	offsetNamed       = 2
	offsetControl     = 3 // rndc
	offsetPeer        = 4 // etcd, between members
	offsetClient      = 5 // etcd, clients
	portsPerPrimary   = 6
	firstFreePort     = 10000 // below: well-known services
	firstEphemeral    = 32768 // Linux takes the ports of outgoing connections from here on
	freePortsAttempts = 200
)

// primaryPort is one port of primary i.
func primaryPort(base, i, offset int) int { return base + portStep*(i+1) + offset }

// freeBase finds a base whose ports are all free now. It stays below the ephemeral
// range, so that no outgoing connection takes one before the cluster binds it, and
// picks at random, so that clusters that start together do not meet.
func freeBase(primaries int, listen netip.Addr) (int, error) {
	for range freePortsAttempts {
		base := firstFreePort + rand.IntN(firstEphemeral-firstFreePort-portsPerCluster)
		if allFree(base, primaries, listen) == nil {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no free ports found in %d attempts between %d and %d", freePortsAttempts, firstFreePort, firstEphemeral)
}

// allFree binds and releases every port of a cluster.
func allFree(base, primaries int, listen netip.Addr) error {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	errs := []error{bindable(listen, base, true)}
	for i := range primaries {
		for o := range portsPerPrimary {
			addr := loopback
			if o == offsetDNS {
				addr = listen
			}
			errs = append(errs, bindable(addr, primaryPort(base, i, o), o == offsetDNS || o == offsetNamed))
		}
	}
	return errors.Join(errs...)
}

func bindable(addr netip.Addr, port int, udp bool) error {
	hp := net.JoinHostPort(addr.String(), strconv.Itoa(port))
	l, err := net.Listen("tcp", hp)
	if err != nil {
		return err
	}
	defer l.Close()
	if !udp {
		return nil
	}
	u, err := net.ListenPacket("udp", hp)
	if err != nil {
		return err
	}
	return u.Close()
}
