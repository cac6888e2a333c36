package pki

import (
	"fmt"
	"slices"
	"time"
)

// Entries of the Secret of a CA besides its certificate and key (tls.crt, tls.key).
const (
	entryCert, entryKey         = "tls.crt", "tls.key"
	entryNextCert, entryNextKey = "next.crt", "next.key"
	entryPrevious               = "previous.crt"
	entrySettled                = "settled-at"
)

// Succession is a CA and, while its key is replaced, the one that comes after it or came before it. Three states follow each other, and in each of them whoever has
// the trust of the state before and of this one believes every certificate that is in use:
//
//	signs   trusted          until
//	old     old              a replacement is asked for
//	old     old and new      everybody trusts both
//	new     new and old      nobody shows a certificate of the old one
//	new     new
type Succession struct {
	Current *Authority
	// Next will sign; nil when none is under way, or it signs already.
	Next *Authority
	// Previous is the certificate, in PEM, of the CA that signed before; its key is gone.
	Previous []byte
	// SettledAt is when everything of this state had been written; zero before.
	SettledAt time.Time
}

// ParseSuccession reads the Secret of a CA, whoever has made it.
func ParseSuccession(data map[string][]byte) (Succession, error) {
	var s Succession
	var err error
	if s.Current, err = ParseAuthority(data[entryCert], data[entryKey]); err != nil {
		return s, err
	}
	if text := data[entryNextCert]; len(text) > 0 {
		if s.Next, err = ParseAuthority(text, data[entryNextKey]); err != nil {
			return s, fmt.Errorf("%s: %w", entryNextCert, err)
		}
	}
	if text := data[entryPrevious]; len(text) > 0 {
		if _, err := parseCertificate(text); err != nil {
			return s, fmt.Errorf("%s: %w", entryPrevious, err)
		}
		s.Previous = text
	}
	if text := string(data[entrySettled]); text != "" {
		if s.SettledAt, err = time.Parse(time.RFC3339, text); err != nil {
			return s, fmt.Errorf("%s: %w", entrySettled, err)
		}
	}
	return s, nil
}

// Data are the entries of the Secret; one that is nil must not be there.
func (s Succession) Data() (map[string][]byte, error) {
	out := map[string][]byte{entryNextCert: nil, entryNextKey: nil, entryPrevious: nil, entrySettled: nil}
	var err error
	if out[entryCert], out[entryKey], err = s.Current.PEM(); err != nil {
		return nil, err
	}
	if s.Next != nil {
		if out[entryNextCert], out[entryNextKey], err = s.Next.PEM(); err != nil {
			return nil, err
		}
	}
	if len(s.Previous) > 0 {
		out[entryPrevious] = s.Previous
	}
	if !s.SettledAt.IsZero() {
		out[entrySettled] = []byte(s.SettledAt.UTC().Format(time.RFC3339))
	}
	return out, nil
}

// UnderWay says that its key is being replaced.
func (s Succession) UnderWay() bool { return s.Next != nil || len(s.Previous) > 0 }

// Trust is what others trust, in PEM: the same octets whichever of the two signs.
func (s Succession) Trust() []byte {
	all := []string{string(s.Current.CertPEM())}
	if s.Next != nil {
		all = append(all, string(s.Next.CertPEM()))
	}
	if len(s.Previous) > 0 {
		all = append(all, string(s.Previous))
	}
	slices.Sort(all)
	var out []byte
	for _, text := range all {
		out = append(out, text...)
	}
	return out
}

// Step is what comes next in a replacement.
type Step int

// Steps.
const (
	// Stay: nothing now.
	Stay Step = iota
	// Begin: make the next CA, and have it trusted.
	Begin
	// Settle: note that everything of this state is written.
	Settle
	// Switch: sign by the next one.
	Switch
	// Finish: trust the previous one no more.
	Finish
)

// Observed is what decides about the next step.
type Observed struct {
	Now time.Time
	// ReplaceBefore: a CA that is older is replaced; zero for none.
	ReplaceBefore time.Time
	// Written: every Secret that depends on the CA has what this state wants, and had it before this pass.
	Written bool
	// Calm: everything that uses it is well, and runs what it shall. Who is cut off has not got what is trusted.
	Calm bool
	// Wait is how long a Secret takes to reach every pod, with room to spare.
	Wait time.Duration
}

// Decide says what comes next. Nothing that is under way is given up: another wish waits for its end.
func (s Succession) Decide(o Observed) Step {
	if !s.UnderWay() {
		if !o.ReplaceBefore.IsZero() && !o.ReplaceBefore.After(o.Now) && s.Current.made().Before(o.ReplaceBefore) {
			return Begin
		}
		return Stay
	}
	switch {
	case !o.Written:
		return Stay
	case s.SettledAt.IsZero():
		return Settle
	case !o.Calm || o.Now.Sub(s.SettledAt) < o.Wait:
		return Stay
	case s.Next != nil:
		return Switch
	}
	return Finish
}

// Do gives the succession after a step. name and life are those of a next CA.
func (s Succession) Do(step Step, name string, life time.Duration, now time.Time) (Succession, error) {
	switch step {
	case Begin:
		next, err := NewAuthority(name+" "+now.UTC().Format(time.RFC3339), life, now)
		if err != nil {
			return s, err
		}
		return Succession{Current: s.Current, Next: next}, nil
	case Settle:
		s.SettledAt = now
	case Switch:
		return Succession{Current: s.Next, Previous: s.Current.CertPEM()}, nil
	case Finish:
		return Succession{Current: s.Current}, nil
	case Stay:
	}
	return s, nil
}

// made is when the CA was made, or renewed.
func (a *Authority) made() time.Time { return a.cert.NotBefore.Add(backdate) }
