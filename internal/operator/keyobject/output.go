package keyobject

import (
	"fmt"
	"strings"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/clientconf"
	"github.com/zonekeeper/zonekeeper/internal/operator/tenancy"
)

// Annotations of the Secret for clients.
const (
	// AnnotationVersion is the version of the secret in it, AnnotationSince the time (RFC 3339) from which on it has that one.
	AnnotationVersion = v1alpha1.Group + "/key-version"
	AnnotationSince   = v1alpha1.Group + "/key-since"
)

// SecretName is the name of the Secret for clients.
func SecretName(k *v1alpha1.TSIGKey) string {
	if n := k.Spec.Output.SecretName; n != "" {
		return n
	}
	return k.Name
}

// Output gives the entries of the Secret for clients, of a key's newest secret. server is the address that clients send to, "" while it is not known;
// zones are those that the key may change. Both appear only in what formats ask for.
func Output(k *v1alpha1.TSIGKey, key *adminapi.Key, server string, zones []string) (map[string][]byte, error) {
	newest := key.Versions[0]
	t := clientconf.Target{Name: strings.TrimSuffix(key.Name, "."), Algorithm: strings.TrimSuffix(newest.Algorithm, "."), Secret: newest.Secret}
	if err := t.SetServer(server); err != nil {
		return nil, err
	}
	if err := t.SetZones(zones); err != nil {
		return nil, err
	}
	out := map[string][]byte{"name": []byte(t.Name), "algorithm": []byte(t.Algorithm), "secret": []byte(t.Secret)}
	for _, f := range k.Spec.Output.Formats {
		entry, format, err := entryOf(f)
		if err != nil {
			return nil, err
		}
		text, err := clientconf.Write(format, t)
		if err != nil {
			return nil, err
		}
		out[entry] = []byte(text)
	}
	return out, nil
}

func entryOf(f v1alpha1.KeyFormat) (entry, format string, err error) {
	switch f {
	case "Nsupdate":
		return "nsupdate.key", clientconf.BIND, nil // what nsupdate -k and dig -k read
	case "ExternalDNS":
		return "external-dns.args", clientconf.ExternalDNS, nil
	case "CertManager":
		return "cert-manager.yaml", clientconf.CertManager, nil
	case "BIND":
		return "named.conf", clientconf.BIND, nil
	case "Kea":
		return "kea.json", clientconf.Kea, nil
	}
	return "", "", fmt.Errorf("format %q of a key's output is not known; use Nsupdate, ExternalDNS, CertManager, BIND or Kea", f)
}

// Server is the address that clients of a cluster send to: the first one of the first exposure that has any; "" while there is none.
func Server(c *v1alpha1.BindCluster) string {
	for _, e := range c.Status.Addresses {
		if len(e.Addresses) > 0 {
			return e.Addresses[0]
		}
	}
	return ""
}

// ZonesOf are the names of the zones that a TSIGKey may change, by the rules of Zones of its namespace and cluster, in their order.
func ZonesOf(k *v1alpha1.TSIGKey, zones []v1alpha1.Zone) []string {
	var out []string
	for _, z := range zones {
		if z.Namespace != k.Namespace || tenancy.ClusterOf(z.Namespace, z.Spec.ClusterRef) != tenancy.ClusterOf(k.Namespace, k.Spec.ClusterRef) {
			continue
		}
		for _, r := range z.Spec.UpdatePolicy {
			if r.Action != "Deny" && r.KeyRef.Name == k.Name {
				out = append(out, strings.TrimSuffix(string(z.Spec.ZoneName), "."))
				break
			}
		}
	}
	return out
}
