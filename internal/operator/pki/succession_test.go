package pki

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// member is who shows a certificate and trusts others: it gets what was written late, at any time within the wait.
type member struct {
	trust, cert []byte
	trustDue    time.Time
	certDue     time.Time
	nextTrust   []byte
	nextCert    []byte
}

func (m *member) believes(t *testing.T, o *member, now time.Time) error {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(m.trust) {
		t.Fatal("no certificate is trusted")
	}
	b, _ := pem.Decode(o.cert)
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

// TestSuccessionNeverDark: members that get each Secret at a moment of their own within the wait, leaves before or after what is trusted, believe one another
// at every moment of a replacement, whatever moment the operator is killed at; in the end nobody believes the old CA.
func TestSuccessionNeverDark(t *testing.T) {
	const wait, tick = 5 * time.Minute, 10 * time.Second
	for round := range 30 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, uint64(round))) //nolint:gosec // a simulation
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		first, err := NewAuthority("admin", 3650*24*time.Hour, now)
		if err != nil {
			t.Fatal(err)
		}
		s := Succession{Current: first}
		leaf := Leaf{CommonName: "m", Hosts: []string{"m"}}
		secretTrust := s.Trust()
		secretCert, secretKey, err := s.Current.Issue(leaf, 90*24*time.Hour, now)
		if err != nil {
			t.Fatal(err)
		}
		members := make([]*member, 4)
		for i := range members {
			members[i] = &member{trust: secretTrust, cert: secretCert, nextTrust: secretTrust, nextCert: secretCert}
		}
		old := secretCert
		want := now.Add(time.Minute)
		var steps []Step
		for n := range 400 {
			now = now.Add(tick)
			written := true
			if r.IntN(3) > 0 { // else the operator is down, or killed before this
				if why, _ := s.Current.Examine(leaf, secretCert, secretKey, now); why != "" {
					written = false
					if secretCert, secretKey, err = s.Current.Issue(leaf, 90*24*time.Hour, now); err != nil {
						t.Fatal(err)
					}
				}
				if string(secretTrust) != string(s.Trust()) {
					written, secretTrust = false, s.Trust()
				}
				if r.IntN(4) > 0 { // else it is killed here
					step := s.Decide(Observed{Now: now, ReplaceBefore: want, Written: written, Calm: r.IntN(5) > 0, Wait: wait})
					if s, err = s.Do(step, "admin", 3650*24*time.Hour, now); err != nil {
						t.Fatal(err)
					}
					if step != Stay {
						steps = append(steps, step)
					}
				}
			}
			news := n == 0
			for _, m := range members { // what was written arrives some time, each file for itself
				if string(m.nextTrust) != string(secretTrust) {
					m.nextTrust, m.trustDue = secretTrust, now.Add(time.Duration(r.Int64N(int64(wait-2*tick))))
				}
				if string(m.nextCert) != string(secretCert) {
					m.nextCert, m.certDue = secretCert, now.Add(time.Duration(r.Int64N(int64(wait-2*tick))))
				}
				if now.After(m.trustDue) {
					news = news || string(m.trust) != string(m.nextTrust)
					m.trust = m.nextTrust
				}
				if now.After(m.certDue) {
					news = news || string(m.cert) != string(m.nextCert)
					m.cert = m.nextCert
				}
			}
			for i, a := range members {
				for j, b := range members {
					if !news {
						continue // everybody has what he had
					}
					if err := a.believes(t, b, now); err != nil {
						t.Fatalf("seed %d, tick %d after %v: member %d does not believe %d: %v", seed, n, steps, i, j, err)
					}
				}
			}
			// The Secret is read again, as by another operator.
			data, err := s.Data()
			if err != nil {
				t.Fatal(err)
			}
			if s, err = ParseSuccession(data); err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprint(steps) != fmt.Sprint([]Step{Begin, Settle, Switch, Settle, Finish}) {
			t.Fatalf("seed %d: steps %v", seed, steps)
		}
		for _, m := range members {
			if m.believes(t, &member{cert: old}, now) == nil {
				t.Fatalf("seed %d: a certificate of the old CA is believed", seed)
			}
		}
	}
}

// TestSuccession: what begins one, what holds it up, and what is not a Secret of a CA.
func TestSuccession(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, err := NewAuthority("admin", 24*time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	one := Succession{Current: a}
	two, err := one.Do(Begin, "admin", 24*time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	settled, _ := two.Do(Settle, "", 0, now)
	three, _ := settled.Do(Switch, "", 0, now)
	if string(settled.Trust()) != string(three.Trust()) {
		t.Error("what is trusted changes with who signs: a rollout that is not needed")
	}
	hour := now.Add(time.Hour)
	for name, c := range map[string]struct {
		s    Succession
		o    Observed
		want Step
	}{
		"no wish":            {one, Observed{Now: now}, Stay},
		"it is younger":      {one, Observed{Now: now, ReplaceBefore: now}, Stay},
		"a wish of tomorrow": {one, Observed{Now: now, ReplaceBefore: hour}, Stay},
		"a wish":             {one, Observed{Now: hour, ReplaceBefore: hour}, Begin},
		"not written":        {two, Observed{Now: hour, Calm: true}, Stay},
		"written":            {two, Observed{Now: hour, Written: true}, Settle},
		"too soon":           {settled, Observed{Now: now.Add(time.Minute), Written: true, Calm: true, Wait: time.Hour}, Stay},
		"not calm":           {settled, Observed{Now: hour, Written: true, Wait: time.Hour}, Stay},
		"in time":            {settled, Observed{Now: hour, Written: true, Calm: true, Wait: time.Hour}, Switch},
		"another wish":       {three, Observed{Now: hour, ReplaceBefore: hour, Written: true}, Settle},
	} {
		if got := c.s.Decide(c.o); got != c.want {
			t.Errorf("%s: step %d, want %d", name, got, c.want)
		}
	}
	good, err := settled.Data()
	if err != nil {
		t.Fatal(err)
	}
	for entry, want := range map[string]string{entryCert: "no PEM certificate", entryNextCert: "next.crt", entrySettled: "settled-at"} {
		bad := map[string][]byte{}
		for k, v := range good {
			bad[k] = v
		}
		bad[entry] = []byte("nonsense")
		if _, err := ParseSuccession(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", entry, err)
		}
	}
	good[entryPrevious] = []byte("nonsense")
	if _, err := ParseSuccession(good); err == nil || !strings.Contains(err.Error(), "previous.crt") {
		t.Errorf("previous.crt: %v", err)
	}
}
