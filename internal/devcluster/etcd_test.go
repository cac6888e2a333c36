package devcluster

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/log"
)

// TestPlanOfTheLog: where the log is follows from the flags at the first start, and stays.
func TestPlanOfTheLog(t *testing.T) {
	embedded := func(*Config) {}
	external := func(c *Config) { c.Etcd = EtcdExternal }
	given := func(c *Config) { c.Etcd, c.EtcdEndpoints = EtcdExternal, []string{"http://192.0.2.1:2379"} }
	for _, tc := range []struct {
		name          string
		made, resumed func(*Config)
		servers       int
		endpoints     []string // of a primary; nil: as many as servers
		refused       string
	}{
		{name: "embedded", made: embedded, resumed: embedded},
		{name: "external", made: external, resumed: external, servers: 3},
		{name: "somebody's", made: given, resumed: given, endpoints: []string{"http://192.0.2.1:2379"}},
		{name: "somebody's, moved", made: given, resumed: func(c *Config) {
			c.Etcd, c.EtcdEndpoints = EtcdExternal, []string{"http://192.0.2.2:2379"}
		}, endpoints: []string{"http://192.0.2.2:2379"}},
		{name: "embedded, then external", made: embedded, resumed: external, refused: "say --etcd embedded"},
		{name: "external, then embedded", made: external, resumed: embedded, refused: "say --etcd external or"},
		{name: "external, then somebody's", made: external, resumed: given, refused: "say --etcd external or"},
		{name: "somebody's, then our own", made: given, resumed: external, refused: "say --etcd external --etcd-endpoints or"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			tc.made(&cfg)
			first, err := loadPlan(cfg)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Etcd, cfg.EtcdEndpoints = EtcdEmbedded, nil
			tc.resumed(&cfg)
			p, err := loadPlan(cfg)
			if tc.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refused) {
					t.Fatalf("got %v, want %q", err, tc.refused)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(p, first) {
				t.Fatalf("%+v, %v; made as %+v", p, err, first)
			}
			servers := p.etcdServers(cfg)
			if len(servers) != tc.servers {
				t.Fatalf("%d servers", len(servers))
			}
			want := tc.endpoints
			for _, s := range servers {
				want = append(want, s.config.ClientURL)
				if err := s.config.Validate(); err != nil || !s.config.Bootstrap {
					t.Errorf("%s: bootstrap %v, %v", s.name, s.config.Bootstrap, err)
				}
			}
			for _, m := range p.members(cfg) {
				e := m.config.Etcd
				if err := m.config.Validate(); err != nil || !slices.Equal(e.Endpoints, want) {
					t.Errorf("%s: %v: %+v", m.name, err, e)
				}
				if e.External() && (!strings.HasSuffix(e.Prefix, p.Token) || e.Prefix == log.DefaultConfig().Prefix) {
					t.Errorf("%s: prefix %s: two clusters would meet in one etcd", m.name, e.Prefix)
				}
			}
			p.Formed = true
			for _, s := range p.etcdServers(cfg) {
				if s.config.Bootstrap {
					t.Errorf("%s may create a second cluster", s.name)
				}
			}
		})
	}
}
