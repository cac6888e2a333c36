package openstack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/openstack"
	"github.com/zonekeeper/zonekeeper/internal/openstack/plan"
)

// cloud is a project of the real API with a network of its own, changed by plain requests that are not the code under test.
type cloud struct {
	t                        *testing.T
	keystone, neutron, token string
	net, sub, group          string
	public                   string
}

// newCloud makes a network as Gardener leaves it: a router to the outside, the shoot's group. There is none unless make openstack runs, which
// installs and starts the services: that takes minutes.
func newCloud(t *testing.T, cidr string) (c *cloud, run bool) {
	t.Helper()
	c = &cloud{t: t, keystone: os.Getenv("ZONEKEEPER_KEYSTONE"), neutron: os.Getenv("ZONEKEEPER_NEUTRON")}
	if c.keystone == "" {
		t.Log("Keystone and Neutron: run it with make openstack")
		return nil, false
	}
	c.token = c.login("admin")
	c.register()
	if list := c.do("GET", "/networks?name=public", nil)["networks"].([]any); len(list) > 0 {
		c.public = list[0].(map[string]any)["id"].(string)
	} else {
		c.public = c.make("network", map[string]any{"name": "public", "router:external": true, "provider:network_type": "flat", "provider:physical_network": "public"})
		c.make("subnet", map[string]any{"network_id": c.public, "ip_version": 4, "cidr": "203.0.113.0/24", "enable_dhcp": false})
	}
	c.token = c.login("shoot")
	c.net = c.make("network", map[string]any{"name": t.Name()})
	c.sub = c.make("subnet", map[string]any{"network_id": c.net, "ip_version": 4, "cidr": cidr})
	router := c.make("router", map[string]any{"name": t.Name(), "external_gateway_info": map[string]any{"network_id": c.public}})
	c.do("PUT", "/routers/"+router+"/add_router_interface", map[string]any{"subnet_id": c.sub})
	c.group = c.make("security_group", map[string]any{"name": "shoot"})
	return c, true
}

// register puts Neutron into the catalog and makes a project with a plain member, once.
func (c *cloud) register() {
	c.t.Helper()
	if len(c.keystoneDo("GET", "/services?type=network", nil)["services"].([]any)) > 0 {
		return
	}
	id := func(kind string, fields map[string]any) string {
		return c.keystoneDo("POST", "/"+kind+"s", map[string]any{kind: fields})[kind].(map[string]any)["id"].(string)
	}
	service := id("service", map[string]any{"type": "network", "name": "neutron"})
	id("endpoint", map[string]any{"service_id": service, "interface": "public", "region_id": "RegionOne", "url": c.neutron})
	project := id("project", map[string]any{"name": "shoot", "domain_id": "default"})
	user := id("user", map[string]any{"name": "shoot", "domain_id": "default", "password": "oslab"})
	member := c.keystoneDo("GET", "/roles?name=member", nil)["roles"].([]any)[0].(map[string]any)["id"].(string)
	c.keystoneDo("PUT", "/projects/"+project+"/users/"+user+"/roles/"+member, nil)
}

func (c *cloud) login(user string) string {
	domain := map[string]any{"id": "default"}
	body, _ := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{"name": user, "password": "oslab", "domain": domain}}},
		"scope":    map[string]any{"project": map[string]any{"name": user, "domain": domain}},
	}})
	resp, err := http.Post(c.keystone+"/auth/tokens", "application/json", bytes.NewReader(body))
	if err != nil || resp.StatusCode != http.StatusCreated {
		c.t.Fatalf("log in as %s: %v %v", user, resp, err)
	}
	_ = resp.Body.Close()
	return resp.Header.Get("X-Subject-Token")
}

func (c *cloud) do(method, path string, body any) map[string]any {
	c.t.Helper()
	return c.request(method, c.neutron+"/v2.0"+path, body)
}

func (c *cloud) keystoneDo(method, path string, body any) map[string]any {
	c.t.Helper()
	return c.request(method, c.keystone+path, body)
}

func (c *cloud) request(method, url string, body any) map[string]any {
	c.t.Helper()
	var r io.Reader
	if body != nil {
		b, _ := json.Marshal(body)
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, r)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", c.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		c.t.Fatalf("%s %s: %d %s", method, url, resp.StatusCode, text)
	}
	out := map[string]any{}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			c.t.Fatal(err)
		}
	}
	return out
}

// make an object and return its ID.
func (c *cloud) make(kind string, fields map[string]any) string {
	c.t.Helper()
	path := "/" + strings.ReplaceAll(kind, "_", "-") + "s"
	return c.do("POST", path, map[string]any{kind: fields})[kind].(map[string]any)["id"].(string)
}

// worker is a server's port as the machine controller leaves it.
func (c *cloud) worker(i int) plan.Node {
	c.t.Helper()
	server := fmt.Sprintf("%s-%04d", c.net, i)
	c.make("port", map[string]any{
		"network_id": c.net, "name": fmt.Sprintf("worker-%d", i), "device_id": server, "device_owner": "compute:nova",
		"security_groups": []string{c.group}, "allowed_address_pairs": []any{map[string]any{"ip_address": "100.96.0.0/11"}},
	})
	return plan.Node{Name: fmt.Sprintf("worker-%d", i), ServerID: server}
}

func (c *cloud) port(server string) map[string]any {
	c.t.Helper()
	list := c.do("GET", "/ports?device_id="+server, nil)["ports"].([]any)
	if len(list) != 1 {
		c.t.Fatalf("%d ports of %s", len(list), server)
	}
	return list[0].(map[string]any)
}

// pairs of a server's port, without MACs, in order.
func (c *cloud) pairs(server string) string {
	c.t.Helper()
	var out []string
	for _, p := range c.port(server)["allowed_address_pairs"].([]any) {
		out = append(out, p.(map[string]any)["ip_address"].(string))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// sessionAt is a session whose Neutron is somewhere else: the catalog gets a region for it.
func (c *cloud) sessionAt(neutron string) *openstack.Session {
	c.t.Helper()
	const region = "behind-a-proxy"
	member := c.token
	c.token = c.login("admin")
	defer func() { c.token = member }()
	id := c.keystoneDo("GET", "/services?type=network", nil)["services"].([]any)[0].(map[string]any)["id"]
	if len(c.keystoneDo("GET", "/regions", nil)["regions"].([]any)) == 1 {
		c.keystoneDo("POST", "/regions", map[string]any{"region": map[string]any{"id": region}})
	}
	for _, e := range c.keystoneDo("GET", "/endpoints?region_id="+region, nil)["endpoints"].([]any) {
		c.keystoneDo("DELETE", "/endpoints/"+e.(map[string]any)["id"].(string), nil)
	}
	c.keystoneDo("POST", "/endpoints", map[string]any{"endpoint": map[string]any{"service_id": id, "interface": "public", "region_id": region, "url": neutron}})
	return c.open(region)
}

// session of the code under test at the API itself.
func (c *cloud) session() *openstack.Session { return c.open("RegionOne") }

func (c *cloud) open(region string) *openstack.Session {
	c.t.Helper()
	s, err := openstack.NewSessions(openstack.DefaultConfig())
	if err != nil {
		c.t.Fatal(err)
	}
	creds, err := openstack.FromSecret(map[string][]byte{
		"authURL": []byte(c.keystone), "domainName": []byte("Default"), "tenantName": []byte("shoot"), "username": []byte("shoot"), "password": []byte("oslab"), "region": []byte(region),
	}, "")
	if err != nil {
		c.t.Fatal(err)
	}
	n, err := s.Open(c.t.Context(), creds)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// inventory is everything in the project, to be compared before and after.
func (c *cloud) inventory() string {
	c.t.Helper()
	var b strings.Builder
	for _, kind := range []string{"ports", "security-groups", "security-group-rules", "floatingips"} {
		key := strings.ReplaceAll(kind, "-", "_")
		for _, o := range c.do("GET", "/"+kind+"?sort_key=id&sort_dir=asc", nil)[key].([]any) {
			m := o.(map[string]any)
			delete(m, "revision_number")
			delete(m, "updated_at")
			text, _ := json.Marshal(m)
			b.Write(text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
