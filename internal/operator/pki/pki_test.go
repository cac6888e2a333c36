package pki

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestLeafIsTrustedByItsCAAlone(t *testing.T) {
	now := time.Now()
	life := DefaultLifetimes()
	a, other := authority(t, "a", now), authority(t, "b", now)
	l := Leaf{CommonName: "c-primary", Unit: "unit", Hosts: []string{"c-primary-0.c-primary.ns.svc.cluster.local"}}
	certPEM, keyPEM, err := a.Issue(l, life.Leaf, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(ca *Authority, name string, usage x509.ExtKeyUsage) error {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca.CertPEM()) {
			t.Fatal("no PEM")
		}
		_, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: now})
		return err
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := verify(a, l.Hosts[0], usage); err != nil {
			t.Errorf("usage %v: %v", usage, err)
		}
	}
	if verify(other, "", x509.ExtKeyUsageClientAuth) == nil {
		t.Error("another CA vouches for it")
	}
	if verify(a, "elsewhere", x509.ExtKeyUsageServerAuth) == nil {
		t.Error("it is good for any host")
	}
	// A CA that was renewed has the key that it had.
	renewed, err := a.Renewed(life.Authority, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(renewed, l.Hosts[0], x509.ExtKeyUsageServerAuth); err != nil {
		t.Errorf("after the CA's renewal: %v", err)
	}
	if why, _ := renewed.Examine(l, certPEM, keyPEM, now); why != "" {
		t.Errorf("after the CA's renewal: %s", why)
	}
	if cert.Subject.CommonName != "c-primary" || strings.Join(cert.Subject.OrganizationalUnit, "") != "unit" {
		t.Errorf("subject %s", cert.Subject)
	}
}

func TestExamine(t *testing.T) {
	now := time.Now()
	life := DefaultLifetimes()
	a, other := authority(t, "a", now), authority(t, "a", now)
	l := Leaf{CommonName: "x", Hosts: []string{"b.test", "a.test"}}
	cert, key, err := a.Issue(l, life.Leaf, now)
	if err != nil {
		t.Fatal(err)
	}
	_, foreign, err := a.Issue(l, life.Leaf, now)
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		name      string
		by        *Authority
		leaf      Leaf
		cert, key []byte
		after     time.Duration
		want      string // "": good
	}{
		{"good", a, l, cert, key, 0, ""},
		{"order of hosts", a, Leaf{CommonName: "x", Hosts: []string{"a.test", "b.test"}}, cert, key, 0, ""},
		{"day 59", a, l, cert, key, 59 * day, ""},
		{"day 61", a, l, cert, key, 61 * day, "two thirds of its life are over"},
		{"none", a, l, nil, nil, 0, "there is none"},
		{"nonsense", a, l, []byte("x"), key, 0, "no PEM certificate"},
		{"no key", a, l, cert, nil, 0, "no PEM key"},
		{"another key", a, l, cert, foreign, 0, "another one's"},
		{"another CA of the same name", other, l, cert, key, 0, "another CA has signed it"},
		{"another name", a, Leaf{CommonName: "y", Hosts: l.Hosts}, cert, key, 0, "it is for CN=x instead of CN=y"},
		{"another unit", a, Leaf{CommonName: "x", Unit: "u", Hosts: l.Hosts}, cert, key, 0, "it is for CN=x instead of CN=x,OU=u"},
		{"more hosts", a, Leaf{CommonName: "x", Hosts: []string{"a.test", "b.test", "c.test"}}, cert, key, 0, "it has other hosts"},
	} {
		why, end := c.by.Examine(c.leaf, c.cert, c.key, now.Add(c.after))
		if (why == "") != (c.want == "") || !strings.Contains(why, c.want) {
			t.Errorf("%s: %q, want %q", c.name, why, c.want)
		}
		if why == "" && !end.Equal(now.Add(life.Leaf).UTC().Truncate(time.Second)) {
			t.Errorf("%s: ends at %v", c.name, end)
		}
	}
}

func TestAuthorityIsReadBack(t *testing.T) {
	now := time.Now()
	a := authority(t, "a", now)
	cert, key, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := Leaf{CommonName: "x"}
	c, k, err := b.Issue(leaf, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	if why, _ := a.Examine(leaf, c, k, now); why != "" {
		t.Error(why)
	}
	if _, err := ParseAuthority(c, k); err == nil || !strings.Contains(err.Error(), "none of a CA") {
		t.Errorf("a leaf as a CA: %v", err)
	}
	_, otherKey, err := authority(t, "a", now).PEM()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseAuthority(cert, otherKey); err == nil || !strings.Contains(err.Error(), "another one's") {
		t.Errorf("another key: %v", err)
	}
	life := DefaultLifetimes().Authority
	if b.Due(now.Add(life/2)) || !b.Due(now.Add(life*3/4)) {
		t.Error("due at another time than after two thirds")
	}
	// Near its own end a CA signs nothing that outlives it.
	late := now.Add(life - time.Hour)
	if c, _, err = b.Issue(leaf, 24*time.Hour, late); err != nil {
		t.Fatal(err)
	}
	short, err := parseCertificate(c)
	if err != nil {
		t.Fatal(err)
	}
	if short.NotAfter.After(b.NotAfter()) {
		t.Errorf("a leaf ends at %v, its CA at %v", short.NotAfter, b.NotAfter())
	}
}

func TestLifetimes(t *testing.T) {
	if err := DefaultLifetimes().Validate(); err != nil {
		t.Error(err)
	}
	for _, l := range []Lifetimes{{}, {Authority: time.Hour, Leaf: time.Hour}, {Authority: 3 * time.Minute, Leaf: time.Minute}} {
		if l.Validate() == nil {
			t.Errorf("%+v is accepted", l)
		}
	}
}

func authority(t *testing.T, name string, now time.Time) *Authority {
	t.Helper()
	a, err := NewAuthority(name, DefaultLifetimes().Authority, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
