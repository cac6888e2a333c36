package devcluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Config of a local cluster.
type Config struct {
	// Dir holds all state.
	Dir string
	// Primaries is 1, 3 or 5.
	Primaries int
	// Secondaries is 0 to 8. A cluster that is resumed may have another number.
	Secondaries int
	// Zones are created if they do not exist.
	Zones []string
	// Port is the relay's; the other ports follow from it (see ports.go). 0 picks free
	// ones. A cluster that is resumed keeps those that it was made with.
	Port int
	// Listen is the address of the relay and of the primaries' endpoints. Everything
	// else listens on 127.0.0.1.
	Listen netip.Addr
	// Named is the path of BIND's named.
	Named string
	// NamedDir is where each named keeps its files, a folder per primary below it;
	// Dir when empty. Its content may vanish: a tmpfs is fine and faster. Secondaries keep theirs in Dir.
	NamedDir string
	// Command is the program and the arguments before "--config FILE" that run one primary.
	Command []string
	// SecondaryCommand is the same for one secondary.
	SecondaryCommand []string
	// Etcd is where the log is: EtcdEmbedded or EtcdExternal. A cluster that is resumed keeps it.
	Etcd string
	// EtcdEndpoints are the client URLs of an etcd that runs already; empty with EtcdExternal: the cluster runs one, a
	// process per primary. It shares it with others by a prefix of its own.
	EtcdEndpoints []string
	// EtcdCommand is the program and the arguments before "--config FILE" that run one etcd server.
	EtcdCommand []string
	// Adjust, when set, may change the configuration of each primary before it is written: an external etcd, proxies
	// between members, another disk. It is called again at each start of the cluster and must give the same result.
	Adjust func(*primary.Config)
	// AdminClient asks the primaries' admin APIs, where Adjust has given them certificates or addresses that this process can't
	// reach by itself; nil: plain HTTP.
	AdminClient *http.Client
	// AdjustSecondary is the same for each secondary.
	AdjustSecondary func(*secondary.Config)
	// ReadyTimeout bounds the wait for the cluster to take writes.
	ReadyTimeout time.Duration
	// StopTimeout is how long a primary may take for an orderly stop before it is killed.
	StopTimeout time.Duration
	Logger      *slog.Logger
}

// DefaultConfig has every value but Dir. Command is this program's "primary", SecondaryCommand its "secondary", EtcdCommand its "etcd".
func DefaultConfig() Config {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	return Config{
		Primaries:        3,
		Zones:            []string{"example.test"},
		Port:             5300,
		Listen:           netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		Named:            "named",
		Command:          []string{exe, "primary"},
		SecondaryCommand: []string{exe, "secondary"},
		Etcd:             EtcdEmbedded,
		EtcdCommand:      []string{exe, "etcd"},
		ReadyTimeout:     60 * time.Second,
		StopTimeout:      15 * time.Second,
		Logger:           slog.New(slog.DiscardHandler),
	}
}

// Validate names every value that can't work.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("--dir: empty; name a directory"))
	}
	switch c.Primaries {
	case 1, 3, 5:
	default:
		errs = append(errs, fmt.Errorf("--primaries %d: use 1, 3 or 5; an even number survives no more failures than the odd one below it", c.Primaries))
	}
	if c.Secondaries < 0 || c.Secondaries > maxSecondaries {
		errs = append(errs, fmt.Errorf("--secondaries %d: use 0 to %d", c.Secondaries, maxSecondaries))
	}
	if c.Port < 0 || c.Port > 65535-portsPerCluster {
		errs = append(errs, fmt.Errorf("--port %d: use 0 for free ports, or 1 to %d", c.Port, 65535-portsPerCluster))
	}
	if !c.Listen.IsValid() {
		errs = append(errs, errors.New("--listen: not an IP address"))
	}
	for _, z := range c.Zones {
		if _, err := zone.ParseName(z); err != nil {
			errs = append(errs, fmt.Errorf("--zone %q: %w", z, err))
		}
	}
	if _, err := exec.LookPath(Program(c.Named)); err != nil {
		errs = append(errs, fmt.Errorf("--named %s: %w; install BIND (apt-get install bind9) or name the program", c.Named, err))
	}
	if len(c.Command) == 0 {
		errs = append(errs, errors.New("no program for a primary"))
	}
	if c.Secondaries > 0 && len(c.SecondaryCommand) == 0 {
		errs = append(errs, errors.New("no program for a secondary"))
	}
	if err := c.validateEtcd(); err != nil {
		errs = append(errs, err)
	}
	if c.ReadyTimeout <= 0 || c.StopTimeout <= 0 {
		errs = append(errs, errors.New("timeouts must be positive"))
	}
	return errors.Join(errs...)
}
