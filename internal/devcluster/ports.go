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
// B+10(i+1) and the five after it; secondary number i has B+70+10i and the four after it.
const (
	portStep        = 10
	firstSecondary  = 7 * portStep
	maxSecondaries  = 8
	portsPerCluster = firstSecondary + maxSecondaries*portStep

	offsetDNS         = 0 // endpoint; of a secondary: what the world asks
	offsetAdmin       = 1
	offsetNamed       = 2
	offsetControl     = 3 // rndc
	offsetPeer        = 4 // etcd, between members
	offsetClient      = 5 // etcd, clients
	portsPerPrimary   = 6
	offsetProxy       = 4 // of a secondary: where its named transfers from
	portsPerSecondary = 5
	firstFreePort     = 10000 // below: well-known services
	firstEphemeral    = 32768 // Linux takes the ports of outgoing connections from here on
	freePortsAttempts = 200
)

// primaryPort is one port of primary i.
func primaryPort(base, i, offset int) int { return base + portStep*(i+1) + offset }

// secondaryPort is one port of secondary i.
func secondaryPort(base, i, offset int) int { return base + firstSecondary + portStep*i + offset }

// freeBase finds a base whose ports are all free now. It stays below the ephemeral
// range, so that no outgoing connection takes one before the cluster binds it, and
// picks at random, so that clusters that start together do not meet.
func freeBase(primaries, secondaries int, listen netip.Addr) (int, error) {
	for range freePortsAttempts {
		base := firstFreePort + rand.IntN(firstEphemeral-firstFreePort-portsPerCluster)
		if allFree(base, primaries, secondaries, listen) == nil {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no free ports found in %d attempts between %d and %d", freePortsAttempts, firstFreePort, firstEphemeral)
}

// allFree binds and releases every port of a cluster.
func allFree(base, primaries, secondaries int, listen netip.Addr) error {
	errs := []error{bindable(listen, base, true)}
	for i := range primaries {
		for o := range portsPerPrimary {
			errs = append(errs, bindable(addrOf(listen, o), primaryPort(base, i, o), o == offsetDNS || o == offsetNamed))
		}
	}
	return errors.Join(append(errs, secondariesFree(base, 0, secondaries, listen))...)
}

// secondariesFree does so for the secondaries from number first up to end.
func secondariesFree(base, first, end int, listen netip.Addr) error {
	var errs []error
	for i := first; i < end; i++ {
		for o := range portsPerSecondary {
			addr := addrOf(listen, o)
			if o == offsetProxy {
				addr = netip.MustParseAddr(proxyHost)
			}
			errs = append(errs, bindable(addr, secondaryPort(base, i, o), o != offsetAdmin && o != offsetControl))
		}
	}
	return errors.Join(errs...)
}

// addrOf is where a port is: what clients use on the address of their choice, all else on loopback.
func addrOf(listen netip.Addr, offset int) netip.Addr {
	if offset == offsetDNS {
		return listen
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
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
