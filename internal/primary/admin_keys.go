package primary

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

func (a *admin) keys(r *http.Request) ([]adminapi.Key, error) {
	if err := a.fresh(r.Context()); err != nil {
		return nil, err
	}
	out := []adminapi.Key{}
	var err error
	a.p.replica.Settings().Keys(func(k *fsm.Key) bool {
		var v adminapi.Key
		v, err = a.describeKey(k, false)
		out = append(out, v)
		return err == nil
	})
	return out, err
}

func (a *admin) key(r *http.Request) (adminapi.Key, error) {
	_, k, err := a.pathKey(r)
	if err != nil {
		return adminapi.Key{}, err
	}
	return a.describeKey(k, r.URL.Query().Get(adminapi.ParamSecret) == "true")
}

// pathKey is the key that the request's path names, as of every change acknowledged before the request.
func (a *admin) pathKey(r *http.Request) (zone.Name, *fsm.Key, error) {
	name, err := pathName(r)
	if err != nil {
		return "", nil, err
	}
	if err := a.fresh(r.Context()); err != nil {
		return "", nil, err
	}
	k := a.p.replica.Settings().Key(name)
	if k == nil {
		return "", nil, notFound("key", name)
	}
	return name, k, nil
}

func (a *admin) findKey(name zone.Name, secret bool) (adminapi.Key, error) {
	k := a.p.replica.Settings().Key(name)
	if k == nil {
		return adminapi.Key{}, notFound("key", name)
	}
	return a.describeKey(k, secret)
}

func (a *admin) describeKey(k *fsm.Key, secret bool) (adminapi.Key, error) {
	out := adminapi.Key{Name: k.Name.String(), Versions: []adminapi.KeyVersion{}, ManagedBy: k.ManagedBy, Guarantee: describeGuarantee(k.Guarantee), Rate: describeRate(k.Rate)}
	for _, s := range k.Secrets {
		if s.State == fsm.KeyRevoked {
			continue
		}
		v := adminapi.KeyVersion{Version: s.Version, Algorithm: s.Algorithm, Created: time.UnixMilli(s.CreatedMS).UTC()}
		if secret {
			plain, err := a.sealer.Open(string(k.Name), s.Version, s.Sealed)
			if err != nil {
				return out, fmt.Errorf("key %s version %d: %w; is the cluster key file the cluster's?", k.Name, s.Version, err)
			}
			v.Secret = base64.StdEncoding.EncodeToString(plain)
		}
		out.Versions = append(out.Versions, v)
	}
	return out, nil
}

func (a *admin) addKey(r *http.Request) (adminapi.Key, error) {
	req, err := decode[adminapi.AddKey](r)
	if err != nil {
		return adminapi.Key{}, err
	}
	name, err := parseName(req.Name)
	if err != nil {
		return adminapi.Key{}, err
	}
	return a.putKey(r.Context(), name, req.Algorithm, req.Secret, false)
}

func (a *admin) rotateKey(r *http.Request) (adminapi.Key, error) {
	req, err := decode[adminapi.RotateKey](r)
	if err != nil {
		return adminapi.Key{}, err
	}
	name, k, err := a.pathKey(r)
	if err != nil {
		return adminapi.Key{}, err
	}
	if req.Algorithm == "" && len(k.Secrets) > 0 {
		req.Algorithm = k.Secrets[0].Algorithm
	}
	return a.putKey(r.Context(), name, req.Algorithm, req.Secret, true)
}

// putKey seals a secret, a random one when none is given, and adds it under the next number. Other primaries add keys at the
// same time, and one of them may have the number first.
func (a *admin) putKey(ctx context.Context, name zone.Name, algorithm, secret string, rotate bool) (adminapi.Key, error) {
	if algorithm == "" {
		algorithm = "hmac-sha256"
	}
	alg, err := tsig.ParseAlgorithm(algorithm)
	if err != nil {
		return adminapi.Key{}, invalid("key %s: %v", name, err)
	}
	plain := newSecret(alg)
	if secret != "" {
		if plain, err = base64.StdEncoding.DecodeString(secret); err != nil || len(plain) == 0 {
			return adminapi.Key{}, invalid("key %s: the secret is not base64; leave it empty to have one made", name)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if err := a.fresh(ctx); err != nil {
		return adminapi.Key{}, err
	}
	err = numbered(ctx, "key "+name.String(), func() (fsm.Result, error) {
		// Who took the number is in these settings: they are those after the refusal.
		c := a.sealedKey(name, alg.String(), a.p.replica.Settings().NextKeyVersion, plain)
		c.Rotate, c.Actor = rotate, actorOf(ctx)
		return a.propose(ctx, c)
	})
	if err != nil {
		return adminapi.Key{}, err
	}
	return a.findKey(name, true)
}

// sealedKey makes the command that adds a secret, sealed with the cluster's key.
func (a *admin) sealedKey(name zone.Name, algorithm string, version uint64, secret []byte) *fsm.PutKey {
	return &fsm.PutKey{
		Name: name, Algorithm: algorithm, Version: version, Sealed: a.sealer.Seal(string(name), version, secret),
		SecretID: a.sealer.ID(string(name), algorithm, secret),
	}
}

// newSecret makes one at random, as long as the algorithm's hash.
func newSecret(alg tsig.Algorithm) []byte {
	secret := make([]byte, alg.Size())
	rand.Read(secret) // never fails
	return secret
}

// maxTries bounds how many numbers one request tries. Whenever one is taken, another request has succeeded.
const maxTries = 100

// numbered repeats a proposal while the number in it is found taken. Nothing else is repeated: a proposal whose outcome is in
// doubt may yet be applied, and another one would be applied as well.
func numbered(ctx context.Context, what string, propose func() (fsm.Result, error)) error {
	for range maxTries {
		res, err := propose()
		if !res.Taken {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: nothing was changed: others were first each time: %w", what, err)
		}
	}
	return &adminapi.Error{Code: adminapi.CodeUnavailable,
		Message: fmt.Sprintf("%s: nothing was changed: %d times another request of its kind was first", what, maxTries), Remedy: "repeat it"}
}

// retireKey ends a rotation: every secret but the newest is revoked.
func (a *admin) retireKey(r *http.Request) (adminapi.Key, error) {
	name, k, err := a.pathKey(r)
	if err != nil {
		return adminapi.Key{}, err
	}
	for _, s := range k.Secrets {
		if s.State != fsm.KeyPrevious {
			continue
		}
		if err := a.revoke(r.Context(), &fsm.DeleteKey{Name: name, Version: s.Version, Actor: actorOf(r.Context())}); err != nil {
			return adminapi.Key{}, err
		}
	}
	return a.findKey(name, false)
}

func (a *admin) deleteKey(r *http.Request) (struct{}, error) {
	name, err := pathName(r)
	if err != nil {
		return struct{}{}, err
	}
	if err := confirmed(r, "key", name); err != nil {
		return struct{}{}, err
	}
	if _, _, err := a.pathKey(r); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.revoke(r.Context(), &fsm.DeleteKey{Name: name, Actor: actorOf(r.Context())})
}

// revoke ends a secret and waits until this primary's named has dropped it too. The other primaries need no waiting for:
// whoever asks them for something passes a read barrier behind the revocation, or is judged again in Apply (C6).
func (a *admin) revoke(ctx context.Context, cmd *fsm.DeleteKey) error {
	if _, err := a.propose(ctx, cmd); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if err := a.p.publisher.WaitSettings(ctx, a.p.replica.Settings().Index); err != nil {
		return &adminapi.Error{Code: adminapi.CodeInDoubt,
			Message: fmt.Sprintf("key %s is revoked, but this primary's named has not dropped it yet: %v", cmd.Name, err),
			Remedy:  "the primaries refuse it already; named's own port must not be reachable from outside"}
	}
	return nil
}

// confirmed checks that the request repeats the name of what it destroys.
func confirmed(r *http.Request, what string, name zone.Name) error {
	text := r.URL.Query().Get(adminapi.ParamConfirm)
	if c, err := zone.ParseName(text); err == nil && text != "" && c.Equal(name) {
		return nil
	}
	return &adminapi.Error{Code: adminapi.CodeConflict,
		Message: fmt.Sprintf("deleting %s %s needs a confirmation, and %q is not its name", what, name, text),
		Remedy:  fmt.Sprintf("repeat the name: zonekeeper %s delete %s --confirm %s", what, name, name)}
}
