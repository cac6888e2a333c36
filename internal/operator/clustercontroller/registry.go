package clustercontroller

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// registration is one of our secondaries at the primaries: under its name, with a TSIG key of its own.
type registration struct{ name, key, secret string }

// registrations are those that the cluster is to have.
func registrations(in resources.Input, secrets map[string][]byte) []registration {
	var out []registration
	for i := range int(in.Cluster.Spec.Secondaries.Replicas) {
		out = append(out, registration{resources.Registered(i), resources.SecondaryKey(i), strings.TrimSpace(string(secrets[resources.SecondarySecretFile(i)]))})
	}
	return out
}

// surplus are the names of secondaries that the operator has registered, as the form of their keys' names says, and that are no longer wanted.
func surplus(want []registration, have []adminapi.Secondary) []string {
	var out []string
	for _, s := range have {
		i, ok := ordinal(s.Name)
		if !ok || s.Foreign || s.Key != resources.SecondaryKey(i) {
			continue // somebody else's
		}
		if !slices.ContainsFunc(want, func(r registration) bool { return r.name == s.Name }) {
			out = append(out, s.Name)
		}
	}
	return out
}

// surplusKeys are the names of keys that the operator has made for secondaries which are no longer wanted. They are not found by the registrations:
// an operator that was killed may have ended those before.
func surplusKeys(want []registration, keys []adminapi.Key) []string {
	var out []string
	for _, k := range keys {
		name, _, _ := strings.Cut(k.Name, ".")
		i, ok := ordinal(name)
		if !ok || k.Name != resources.SecondaryKey(i) {
			continue // somebody else's
		}
		if !slices.ContainsFunc(want, func(r registration) bool { return r.key == k.Name }) {
			out = append(out, k.Name)
		}
	}
	return out
}

func ordinal(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "secondary-")
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(digits)
	return i, err == nil && i >= 0 && resources.Registered(i) == name
}

// register makes the primaries know the secondaries. Every step is what was found missing, so it can be repeated.
func register(ctx context.Context, p Primary, want []registration) error {
	have, err := p.Secondaries(ctx)
	if err != nil {
		return fmt.Errorf("registered secondaries: %w", err)
	}
	keys, err := p.Keys(ctx)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	for _, w := range want {
		if err := ensureKey(ctx, p, w, keys); err != nil {
			return fmt.Errorf("key %s of %s: %w", w.key, w.name, err)
		}
		if slices.ContainsFunc(have, func(s adminapi.Secondary) bool { return s.Name == w.name && s.Key == w.key && !s.Foreign }) {
			continue
		}
		if err := p.PutSecondary(ctx, adminapi.Secondary{Name: w.name, Key: w.key}); err != nil {
			return fmt.Errorf("registration of %s: %w", w.name, err)
		}
	}
	for _, name := range surplus(want, have) {
		if err := p.DeleteSecondary(ctx, name); err != nil && !adminapi.IsCode(err, adminapi.CodeNotFound) {
			return fmt.Errorf("registration of %s: %w", name, err)
		}
	}
	for _, key := range surplusKeys(want, keys) {
		if err := p.DeleteKey(ctx, key, key); err != nil && !adminapi.IsCode(err, adminapi.CodeNotFound) {
			return fmt.Errorf("key %s: %w", key, err)
		}
	}
	return nil
}

// ensureKey makes the key's only secret the one of the Secret.
func ensureKey(ctx context.Context, p Primary, w registration, keys []adminapi.Key) error {
	if !slices.ContainsFunc(keys, func(k adminapi.Key) bool { return k.Name == w.key }) {
		_, err := p.AddKey(ctx, adminapi.AddKey{Name: w.key, Secret: w.secret})
		return err
	}
	k, err := p.Key(ctx, w.key, true)
	if err != nil {
		return err
	}
	if len(k.Versions) == 0 || k.Versions[0].Secret != w.secret {
		// A Secret that was lost and made anew: the secondaries have the new one.
		if _, err := p.RotateKey(ctx, w.key, adminapi.RotateKey{Secret: w.secret}); err != nil {
			return err
		}
	} else if len(k.Versions) == 1 {
		return nil
	}
	_, err = p.RetireKey(ctx, w.key)
	return err
}
