// Command lego obtains a certificate with the packages of lego, by a DNS-01 challenge answered with dynamic updates. Traefik and Caddy's
// plugin are built on the same packages. The provider is configured by lego's own environment variables (DNSUPDATE_…).
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/certcrypto"
	"github.com/go-acme/lego/v5/certificate"
	"github.com/go-acme/lego/v5/lego"
	"github.com/go-acme/lego/v5/providers/dns/dnsupdate"
	"github.com/go-acme/lego/v5/registration"
)

func main() {
	directory := flag.String("directory", "", "URL of the ACME server's directory; its certificate is that of LEGO_CA_CERTIFICATES")
	domains := flag.String("domains", "", "names of the certificate, with commas between them")
	out := flag.String("out", "", "file for the certificate")
	limit := flag.Duration("timeout", 2*time.Minute, "give up after this time")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	if err := obtain(ctx, *directory, strings.Split(*domains, ","), *out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func obtain(ctx context.Context, directory string, domains []string, out string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	u := &user{key: key}
	cfg := lego.NewConfig(u)
	cfg.CADirURL = directory
	client, err := lego.NewClient(cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", directory, err)
	}
	provider, err := dnsupdate.NewDNSProvider()
	if err != nil {
		return err
	}
	if err := client.Challenge.SetDNS01Provider(provider); err != nil {
		return err
	}
	if u.account, err = client.Registration.Register(ctx, registration.RegisterOptions{TermsOfServiceAgreed: true}); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	got, err := client.Certificate.Obtain(ctx, certificate.ObtainRequest{Domains: domains, KeyType: certcrypto.EC256, Bundle: true})
	if err != nil {
		return fmt.Errorf("obtain a certificate for %v: %w", domains, err)
	}
	if len(got.Certificate) == 0 {
		return errors.New("the certificate is empty")
	}
	return os.WriteFile(out, got.Certificate, 0o600)
}

// user is an account that is made for one certificate.
type user struct {
	key     crypto.Signer
	account *acme.ExtendedAccount
}

func (u *user) GetEmail() string                       { return "" }
func (u *user) GetRegistration() *acme.ExtendedAccount { return u.account }
func (u *user) GetPrivateKey() crypto.Signer           { return u.key }
