package keyobject

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// Observed is what decides about the next step of a key.
type Observed struct {
	// Now by the operator's clock.
	Now  time.Time
	Spec v1alpha1.TSIGKeySpec
	// RotateBefore is the annotation's time; zero without one.
	RotateBefore time.Time
	// Key is what the primaries have, with secrets; nil when they do not have it.
	Key *adminapi.Key
	// Given is the secret of secretRef; "" when the primaries make one.
	Given string
	// Handed is the version of the secret that clients are given, and HandedSince since when; 0 when there is none yet.
	Handed      uint64
	HandedSince time.Time
}

// Do is what is to be done.
type Do int

// Steps.
const (
	Nothing Do = iota
	Add        // make the key
	Rotate     // add a secret
	Retire     // drop all secrets but the newest
)

// Step is the next one.
type Step struct {
	Do Do
	// Algorithm and Secret of Add and Rotate; the primaries make a secret when it is empty.
	Algorithm, Secret string
	// Reason and Message say why a new secret that is given waits; "" when none does.
	Reason, Message string
	// RetireAt is when the secret before ends, NextRotation when the next one is made. Zero: there is no such time.
	RetireAt, NextRotation time.Time
}

// Decide gives the next step. A secret is retired when clients have had the newest one for the overlap, not when that was made: an operator that was
// stopped in between takes nothing from anybody.
func Decide(o Observed) Step {
	if o.Key == nil || len(o.Key.Versions) == 0 {
		return Step{Do: Add, Algorithm: o.Spec.Algorithm, Secret: o.Given}
	}
	newest := o.Key.Versions[0]
	var s Step
	rotating := len(o.Key.Versions) > 1
	if rotating {
		since := o.Now
		if o.Handed == newest.Version {
			since = o.HandedSince
		}
		if newest.Created.After(since) {
			since = newest.Created
		}
		s.RetireAt = since.Add(o.Spec.Overlap.Duration)
		if !s.RetireAt.After(o.Now) {
			s.Do, s.RetireAt = Retire, time.Time{}
			return s
		}
	}
	due := o.due(newest, &s)
	switch {
	case due && o.Given != "" && rotating && same(o.Given, o.Key.Versions[1].Secret):
		s.Reason = v1alpha1.ReasonInvalid
		s.Message = fmt.Sprintf("the Secret of secretRef has the value before the last one again, which ends at %s; put a new one there", s.RetireAt.UTC().Format(time.RFC3339))
	case due && rotating:
		if o.Given != "" {
			s.Reason = v1alpha1.ReasonRotating
			s.Message = fmt.Sprintf("the new value in the Secret of secretRef waits until %s, when the secret before the last one ends; two are valid at most",
				s.RetireAt.UTC().Format(time.RFC3339))
		}
	case due:
		s.Do, s.Algorithm, s.Secret, s.NextRotation = Rotate, o.Spec.Algorithm, o.Given, time.Time{}
	}
	return s
}

// due says whether a new secret is, and puts the time of the next one into s.
func (o Observed) due(newest adminapi.KeyVersion, s *Step) bool {
	if o.Given != "" {
		return !same(o.Given, newest.Secret)
	}
	at := func(t time.Time) {
		if s.NextRotation.IsZero() || t.Before(s.NextRotation) {
			s.NextRotation = t
		}
	}
	if o.Spec.Rotation != nil && o.Spec.SecretRef == nil {
		at(newest.Created.Add(o.Spec.Rotation.Every.Duration))
	}
	if newest.Created.Before(o.RotateBefore) {
		at(o.RotateBefore)
	}
	return !s.NextRotation.IsZero() && !s.NextRotation.After(o.Now)
}

// same compares secrets, which may be written in different ways.
func same(a, b string) bool {
	x, err := base64.StdEncoding.DecodeString(a)
	y, err2 := base64.StdEncoding.DecodeString(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}
