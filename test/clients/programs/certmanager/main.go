// Command certmanager presents or cleans up a DNS-01 challenge with cert-manager's rfc2136 solver.
package main

import (
	"fmt"
	"os"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/rfc2136"
)

const usage = "certmanager present|cleanup NAMESERVER ALGORITHM KEY SECRET udp|tcp DOMAIN FQDN ZONE VALUE"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 10 {
		return fmt.Errorf("%d arguments; use: %s", len(args), usage)
	}
	p, err := rfc2136.NewDNSProviderCredentials(args[1], args[2], args[3], args[4], rfc2136.WithNetwork(args[5]))
	if err != nil {
		return err
	}
	domain, fqdn, zone, value := args[6], args[7], args[8], args[9]
	switch args[0] {
	case "present":
		return p.Present(domain, fqdn, zone, value)
	case "cleanup":
		return p.CleanUp(domain, fqdn, zone, value)
	}
	return fmt.Errorf("%q; use: %s", args[0], usage)
}
