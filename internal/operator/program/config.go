package program

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/zonekeeper/zonekeeper/internal/operator/clustercontroller"
)

// Config is the operator's configuration; every field is a flag.
type Config struct {
	// Image is that of clusters which name none: the operator's own, since it is of the same version.
	Image string
	// ClusterDomain is the one of Services.
	ClusterDomain string
	// FrontNamespace is where fronts of VIPs run. It has to exist and to permit privileged pods. Empty: there are no VIPs.
	FrontNamespace string
	// Namespace is where the operator itself runs, with its lease.
	Namespace string
	// LeaderElection: off for one operator that is known to be the only one.
	LeaderElection bool
	// LeaseDuration is how long a lease that is not renewed counts.
	LeaseDuration time.Duration
	// MetricsListen and HealthListen are host:port, "" for none.
	MetricsListen string
	HealthListen  string
	// PodMonitorLabels are further labels of the PodMonitors that the operator makes, by which a Prometheus may select them.
	PodMonitorLabels map[string]string
	// StopGrace is how long passes that are under way may take when the operator stops.
	StopGrace time.Duration
	// CertificateLifetime is that of certificates; they are renewed after two thirds of it.
	CertificateLifetime time.Duration
	// Interval is the time between two looks at a cluster.
	Interval time.Duration
	LogLevel slog.Level
	// LogFormat is text or json.
	LogFormat string
}

// DefaultConfig has every value that has a sensible default: all but Image.
func DefaultConfig() Config {
	c := clustercontroller.DefaultConfig()
	return Config{
		ClusterDomain: c.Settings.ClusterDomain, FrontNamespace: c.Settings.FrontNamespace, Namespace: c.Settings.OperatorNamespace,
		LeaderElection: true, LeaseDuration: 15 * time.Second, MetricsListen: ":8080", HealthListen: ":8081", StopGrace: 20 * time.Second,
		CertificateLifetime: c.Lifetimes.Leaf, Interval: c.Interval, LogLevel: slog.LevelInfo, LogFormat: "json",
	}
}

// Validate names every value that can't work, and the flag to change.
func (c Config) Validate() error {
	var errs []error
	bad := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--"+flag+": "+format, args...))
	}
	if c.Image == "" {
		bad("image", "empty; name the image of primaries, secondaries and fronts")
	}
	if e := validation.IsDNS1123Subdomain(c.ClusterDomain); len(e) > 0 {
		bad("cluster-domain", "%q is no domain; the usual one is cluster.local", c.ClusterDomain)
	}
	namespace := func(flag, v string) {
		if e := validation.IsDNS1123Label(v); len(e) > 0 {
			bad(flag, "%q is no namespace: %s", v, e[0])
		}
	}
	if c.FrontNamespace != "" {
		namespace("front-namespace", c.FrontNamespace)
	}
	namespace("namespace", c.Namespace)
	for k, v := range c.PodMonitorLabels {
		for _, e := range append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...) {
			bad("pod-monitor-labels", "%s=%s is no label: %s", k, v, e)
		}
	}
	if c.LeaseDuration < 3*time.Second || c.LeaseDuration > 5*time.Minute {
		bad("lease-duration", "%v; use 3s to 5m", c.LeaseDuration)
	}
	listen := func(flag, v string) {
		if _, _, err := net.SplitHostPort(v); v != "" && err != nil {
			bad(flag, "%q is not host:port (%v)", v, err)
		}
	}
	listen("metrics-listen", c.MetricsListen)
	listen("health-listen", c.HealthListen)
	if c.StopGrace < time.Second {
		bad("stop-grace", "%v; use a second or more", c.StopGrace)
	}
	if c.Interval < time.Second {
		bad("interval", "%v; use a second or more", c.Interval)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("log-format", "%q; use text or json", c.LogFormat)
	}
	if err := c.controller().Lifetimes.Validate(); err != nil {
		bad("certificate-lifetime", "%w", err)
	}
	return errors.Join(errs...)
}

// controller is the configuration of the BindCluster controller.
func (c Config) controller() clustercontroller.Config {
	cc := clustercontroller.DefaultConfig()
	cc.Settings.Image, cc.Settings.ClusterDomain = c.Image, c.ClusterDomain
	cc.Settings.FrontNamespace, cc.Settings.OperatorNamespace = c.FrontNamespace, c.Namespace
	cc.Settings.PodMonitorLabels = c.PodMonitorLabels
	cc.Lifetimes.Leaf, cc.Interval = c.CertificateLifetime, c.Interval
	cc.BusyInterval = min(cc.BusyInterval, c.Interval)
	return cc
}
