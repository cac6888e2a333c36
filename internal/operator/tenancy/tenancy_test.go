package tenancy

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

func TestManages(t *testing.T) {
	cluster := &v1alpha1.BindCluster{ObjectMeta: metav1.ObjectMeta{Name: "main", Namespace: "dns"}}
	zone := func(namespace, adopt string) *v1alpha1.Zone {
		return &v1alpha1.Zone{ObjectMeta: metav1.ObjectMeta{Name: "z", Namespace: namespace, Annotations: map[string]string{v1alpha1.AnnotationAdopt: adopt}}}
	}
	for _, c := range []struct {
		name, managedBy string
		zone            *v1alpha1.Zone
		want            Management
		why             string
	}{
		{"its own", "operator Zone team/z", zone("team", ""), Own, ""},
		{"an object of its namespace had it", "operator Zone team/before", zone("team", ""), Inherited, ""},
		{"a namespace whose name begins alike", "operator Zone team-b/z", zone("team", ""), Foreign, "managed by Zone team-b/z; ask the owner of BindCluster dns/main"},
		{"another kind", "operator TSIGKey team/z", zone("team", ""), Foreign, "managed by TSIGKey team/z"},
		{"the command line's", "cli", zone("dns", ""), Foreign, "kubectl annotate -n dns zone z dns.zonekeeper.io/adopt=true"},
		{"which its owner adopts", "cli", zone("dns", "true"), Inherited, ""},
		{"which a tenant can't adopt", "cli", zone("team", "true"), Foreign, "somebody at the command line"},
		{"a tenant's, which the cluster's owner adopts", "operator Zone team/z", zone("dns", "true"), Inherited, ""},
	} {
		if m, why := Manages(c.managedBy, "Zone", c.zone, cluster); m != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%s: %d, %q; want %d, %q", c.name, m, why, c.want, c.why)
		}
	}
}
