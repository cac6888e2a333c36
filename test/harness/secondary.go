package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
)

// SecondaryNames lists the secondaries.
func (c *Cluster) SecondaryNames() []string {
	var out []string
	for _, s := range c.Info().Secondaries {
		out = append(out, s.Name)
	}
	return out
}

// Secondary gives what dev.json says of a secondary.
func (c *Cluster) Secondary(name string) devcluster.SecondaryInfo {
	c.t.Helper()
	for _, s := range c.Info().Secondaries {
		if s.Name == name {
			return s
		}
	}
	c.t.Fatalf("there is no secondary %q", name)
	return devcluster.SecondaryInfo{}
}

// SecondaryConfig gives the configuration that a secondary runs with.
func (c *Cluster) SecondaryConfig(name string) secondary.Config {
	c.t.Helper()
	cfg, err := secondary.LoadConfig(filepath.Join(c.Dir(), name, "secondary.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	return cfg
}

// pid is the process of a primary or a secondary, 0 when it does not run.
func (c *Cluster) pid(name string) int {
	c.t.Helper()
	for _, s := range c.Info().Secondaries {
		if s.Name == name {
			return s.PID
		}
	}
	return c.Primary(name).PID
}

func (c *Cluster) emptySecondary(name string) {
	c.t.Helper()
	cfg := c.SecondaryConfig(name)
	for _, dir := range []string{cfg.Dir, cfg.Named.Dir} {
		if err := os.RemoveAll(dir); err != nil {
			c.t.Fatal(err)
		}
	}
}

// Own is a secondary's own status.
func (c *Cluster) Own(name string) *adminapi.SecondaryStatus {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := c.Admin[name].Own(ctx)
	if err != nil {
		c.t.Fatalf("the status of %s: %v", name, err)
	}
	return s
}

// Metric gives the value of a metric of one server, with its labels as in the text format; 0 when it is not there.
func (c *Cluster) Metric(name, metric string) float64 {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	text, err := c.Admin[name].Metrics(ctx)
	if err != nil {
		c.t.Fatalf("the metrics of %s: %v", name, err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, metric+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// Answer asks a server as the world does, over UDP, and gives the RRs of its answer in text form. An answer without
// authority, or another response code than NOERROR, is an error.
func Answer(ctx context.Context, addr, name string, qtype uint16) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	resp, err := Asker{Timeout: 2 * time.Second}.Ask(ctx, "udp", addr, name, qtype)
	switch {
	case err != nil:
		return nil, err
	case resp.Rcode != dns.RcodeSuccess:
		return nil, fmt.Errorf("%s at %s: %w", name, addr, RCodeError(resp.Rcode))
	case !resp.Authoritative:
		return nil, fmt.Errorf("%s at %s: the answer has no authority", name, addr)
	}
	var out []string
	for _, rr := range resp.Answer {
		out = append(out, rr.String())
	}
	return out, nil
}

// Serial is the serial of a zone at a server.
func Serial(ctx context.Context, addr, zone string) (uint32, error) {
	resp, err := Asker{Timeout: 2 * time.Second}.Ask(ctx, "udp", addr, zone, dns.TypeSOA)
	if err != nil {
		return 0, err
	}
	if len(resp.Answer) != 1 || !resp.Authoritative {
		return 0, fmt.Errorf("SOA of %s at %s: %s, %d RRs, authority %v", zone, addr, dns.RcodeToString[resp.Rcode], len(resp.Answer), resp.Authoritative)
	}
	soa, ok := resp.Answer[0].(*dns.SOA)
	if !ok {
		return 0, fmt.Errorf("SOA of %s at %s: %v", zone, addr, resp.Answer)
	}
	return soa.Serial, nil
}
