package resources

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// sparse writes a configuration without what equals the program's defaults.
func sparse(config, defaults any) (string, error) {
	have, err := generic(config)
	if err != nil {
		return "", err
	}
	base, err := generic(defaults)
	if err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(differing(have, base), "", "  ")
	if err != nil {
		return "", fmt.Errorf("resources: configuration %T: %w", config, err)
	}
	return string(text) + "\n", nil
}

func generic(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("resources: configuration %T: %w", v, err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // octets exceed what a float64 holds exactly
	m := map[string]any{}
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("resources: configuration %T: %w", v, err)
	}
	return m, nil
}

func differing(have, base map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range have {
		b, known := base[k]
		if reflect.DeepEqual(v, b) && known {
			continue
		}
		vm, isMap := v.(map[string]any)
		bm, wasMap := b.(map[string]any)
		if isMap && wasMap {
			out[k] = differing(vm, bm)
			continue
		}
		out[k] = v
	}
	return out
}

// digest is short because it is in a name's company: it tells versions apart and proves nothing.
func digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		h.Write([]byte(strconv.Itoa(len(t))))
		h.Write([]byte{0})
		h.Write([]byte(t))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// wildcards are the unspecified addresses of the cluster's families.
func (in Input) wildcards() []string {
	var out []string
	for _, f := range in.families() {
		if f == v1alpha1.IPFamily("IPv6") {
			out = append(out, "::")
		} else {
			out = append(out, "0.0.0.0")
		}
	}
	return out
}

// listen are address:port pairs on all addresses.
func (in Input) listen(port uint16) []string {
	var out []string
	for _, w := range in.wildcards() {
		out = append(out, netip.AddrPortFrom(netip.MustParseAddr(w), port).String())
	}
	return out
}

// listenOne is for sockets that Go opens for both families at once when the address is a wildcard.
func (in Input) listenOne(port uint16) string { return in.listen(port)[0] }

func (in Input) families() []v1alpha1.IPFamily {
	if f := in.Cluster.Spec.IPFamilies; len(f) > 0 {
		return f
	}
	return []v1alpha1.IPFamily{"IPv4"}
}
