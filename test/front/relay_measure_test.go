package front

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"

	"github.com/zonekeeper/zonekeeper/internal/front/relay"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// relayEnv makes the test a process that is a relay and nothing else, so that its CPU can be told from the clients'.
const relayEnv = "ZONEKEEPER_TEST_RELAY"

// relayJob is what such a process does.
type relayJob struct {
	Listen, To netip.AddrPort
	Batch      int
	Key        []byte
}

// Of the measurement below.
const (
	relayClients = 64
	relayWindow  = 8 // updates that each has under way
	relaySockets = 2 // and threads of dnsdist
	relayLength  = 4 * time.Second
	relayWarm    = 500 * time.Millisecond
)

// TestMeasureFrontRelay: the relay alone, moving one and 32 datagrams with a system call, beside dnsdist. All pass the same
// signed updates from the same clients to the same backend, which answers at once; they take turns, so that what the machine
// does meanwhile hurts all alike. Everything shares the machine's cores: a rate is the machine's, the CPU is the program's own.
func TestMeasureFrontRelay(t *testing.T) {
	if job := os.Getenv(relayEnv); job != "" {
		runRelay(t, job)
		return
	}
	if !measuring(t) {
		return
	}
	key := []byte("a key of the fronts and primaries")
	to := startBackend(t)
	ways := []*relayWay{
		startRelay(t, "relay, batches of 1", relayJob{To: to, Batch: 1, Key: key}),
		startRelay(t, "relay, batches of 32", relayJob{To: to, Batch: 32, Key: key}),
		startRelay(t, "relay, 32, headers without a MAC", relayJob{To: to, Batch: 32}),
		startDnsdist(t, "dnsdist", to, 1, false),
		startDnsdist(t, "dnsdist, PROXY", to, 1, true),
		startDnsdist(t, "dnsdist, PROXY, batches of 32", to, 32, true),
	}
	messages := relayMessages(t)
	for _, w := range ways {
		w.await(t, messages[0])
	}
	for range times(5) {
		for _, w := range ways {
			w.rounds = append(w.rounds, w.drive(t, messages))
		}
	}
	for _, w := range ways {
		var rate, cpu, lost []float64
		for _, r := range w.rounds {
			rate, cpu, lost = append(rate, r.rate), append(cpu, r.cpu), append(lost, float64(r.lost))
		}
		row("relay", w.name, fmt.Sprintf("%s updates/s; %s µs of CPU an update and its answer; %.0f lost", spread(rate, 0), spread(cpu, 1), slices.Max(lost)))
	}
}

// spread is the median of some values, with the least and the largest.
func spread(values []float64, digits int) string {
	slices.Sort(values)
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, values[len(values)/2], digits, values[0], digits, values[len(values)-1])
}

// runRelay is the other process.
func runRelay(t *testing.T, text string) {
	var job relayJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		t.Fatal(err)
	}
	cfg := relay.DefaultConfig()
	cfg.Listen, cfg.Sockets, cfg.Batch = []netip.AddrPort{job.Listen}, relaySockets, job.Batch
	if len(job.Key) > 0 {
		cfg.Keys = proxyproto.Fixed(job.Key)
	}
	cfg.Limits.PerSecond, cfg.Limits.Burst = 1e9, 1<<30 // all clients are one address here
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Set([]relay.Upstream{{Name: "backend", DNS: job.To}})
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// relayWay is one program that passes datagrams on.
type relayWay struct {
	name   string
	at     netip.AddrPort
	proc   *harness.Process
	rounds []relayRound
}

type relayRound struct {
	rate, cpu float64 // updates/s; µs of CPU each
	lost      int
}

func startRelay(t *testing.T, name string, job relayJob) *relayWay {
	t.Helper()
	job.Listen = namedtest.FreePort(t)
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestMeasureFrontRelay$")
	cmd.Env = append(os.Environ(), relayEnv+"="+string(text))
	return &relayWay{name: name, at: job.Listen, proc: harness.StartProcess(t, cmd, filepath.Join(t.TempDir(), "relay.log"))}
}

func startDnsdist(t *testing.T, name string, to netip.AddrPort, size int, proxy bool) *relayWay {
	t.Helper()
	at, dir := namedtest.FreePort(t), t.TempDir()
	var conf strings.Builder
	for i := range relaySockets {
		fmt.Fprintf(&conf, "%s(%q, {reusePort=true})\n", [...]string{"setLocal", "addLocal"}[min(i, 1)], at)
	}
	fmt.Fprintf(&conf, "setUDPMultipleMessagesVectorSize(%d)\nsetMaxUDPOutstanding(65535)\n", size)
	// Its health checks would ask for a root, which the backend answers like everything.
	fmt.Fprintf(&conf, "newServer({address=%q, useProxyProtocol=%v, sockets=%d})\ngetServer(0):setUp()\n", to, proxy, relaySockets)
	file := filepath.Join(dir, "dnsdist.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return &relayWay{name: name, at: at, proc: harness.StartProcess(t, exec.Command("dnsdist", "--supervised", "-C", file), filepath.Join(dir, "dnsdist.log"))}
}

// await waits until an update passes.
func (w *relayWay) await(t *testing.T, msg []byte) {
	t.Helper()
	conn := relayClient(t, w.at)
	defer conn.Close()
	b := make([]byte, 512)
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); {
		if err := w.proc.Alive(); err != nil {
			t.Fatalf("%s: %v\n%s", w.name, err, w.proc.Tail(20))
		}
		_, _ = conn.Write(msg) // nobody may listen yet
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := conn.Read(b); err == nil && n > 12 {
			return
		}
	}
	t.Fatalf("%s passes nothing\n%s", w.name, w.proc.Tail(20))
}

func relayClient(t *testing.T, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// drive lets the clients send as fast as answers come, and counts.
func (w *relayWay) drive(t *testing.T, messages [][]byte) relayRound {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	clients := make([]*steadyClient, relayClients)
	var wg sync.WaitGroup
	share := len(messages) / relayClients
	for i := range clients {
		clients[i] = &steadyClient{conn: relayClient(t, w.at), messages: messages[i*share : (i+1)*share]}
		wg.Go(func() { clients[i].run(ctx) })
	}
	total := func() (answers, lost int) {
		for _, c := range clients {
			c.mu.Lock()
			answers, lost = answers+c.answers, lost+c.lost
			c.mu.Unlock()
		}
		return answers, lost
	}
	<-time.After(relayWarm)
	cpu, start := namedtest.CPU(t, w.proc.PID()), time.Now()
	before, lostBefore := total()
	<-time.After(relayLength)
	after, lostAfter := total()
	cpu, length := namedtest.CPU(t, w.proc.PID())-cpu, time.Since(start)
	cancel()
	for _, c := range clients {
		c.conn.Close()
	}
	wg.Wait()
	n := after - before
	if n == 0 {
		t.Fatalf("%s passes nothing\n%s", w.name, w.proc.Tail(20))
	}
	return relayRound{rate: float64(n) / length.Seconds(), cpu: float64(cpu.Nanoseconds()) / 1e3 / float64(n), lost: lostAfter - lostBefore}
}

// steadyClient always has a window of updates under way.
type steadyClient struct {
	conn     *net.UDPConn
	messages [][]byte

	mu            sync.Mutex
	answers, lost int
}

func (c *steadyClient) run(ctx context.Context) {
	p := ipv4.NewPacketConn(c.conn)
	in, out := batch(relayWindow, 512), batch(relayWindow, 0)
	next, id := 0, uint16(0)
	for missing := relayWindow; ctx.Err() == nil; {
		for i := range missing {
			id++
			out[i].Buffers[0] = c.messages[next]
			binary.BigEndian.PutUint16(out[i].Buffers[0], id)
			next = (next + 1) % len(c.messages)
		}
		for sent := 0; sent < missing; {
			n, err := p.WriteBatch(out[sent:missing], 0)
			if err != nil {
				break
			}
			sent += n
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := p.ReadBatch(in, 0)
		c.mu.Lock()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			n = relayWindow // all of them
			c.lost += n
		} else if err == nil {
			c.answers += n
		}
		c.mu.Unlock()
		missing = max(n, 0)
	}
}

// batch makes room for some datagrams.
func batch(n, size int) []ipv4.Message {
	b := make([]ipv4.Message, n)
	for i := range b {
		b[i].Buffers = [][]byte{make([]byte, size)}
	}
	return b
}

// startBackend answers NOERROR to every update, with or without a PROXY header before it.
func startBackend(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadBuffer(4 << 20) // as much as the kernel gives
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		p := ipv4.NewPacketConn(conn)
		in, out := batch(32, 1024), batch(32, 0)
		for {
			n, err := p.ReadBatch(in, 0)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // ICMP, after somebody has gone
			}
			answers := out[:0]
			for _, m := range in[:n] {
				msg := m.Buffers[0][:m.N]
				if proxyproto.Looks(msg) {
					h, err := proxyproto.Parse(msg, nil, nil, time.Time{})
					if err != nil {
						continue
					}
					msg = msg[h.Length:]
				}
				if len(msg) < 12 {
					continue
				}
				// Header and zone section, as a server answers that does not sign.
				end := 12
				for end < len(msg) && msg[end] != 0 {
					end += 1 + int(msg[end])
				}
				msg = msg[:min(end+5, len(msg))]
				msg[2], msg[3] = msg[2]|0x80, 0
				clear(msg[6:12])
				answers = append(answers, ipv4.Message{Buffers: [][]byte{msg}, Addr: m.Addr})
			}
			for len(answers) > 0 {
				n, err := p.WriteBatch(answers, 0)
				if err != nil {
					break
				}
				answers = answers[n:]
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// relayMessages are signed updates, all different.
func relayMessages(t *testing.T) [][]byte {
	t.Helper()
	k, err := tsig.NewKey(tsig.Key{Name: zone.MustParseName("key."), Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789abcdef0123456789abcdef"), Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	messages := make([][]byte, relayClients*64)
	for i := range messages {
		m := new(dns.Msg)
		m.SetUpdate("example.test.")
		rr, err := dns.NewRR(fmt.Sprintf("h%d.example.test. 60 IN A 192.0.2.1", i))
		if err != nil {
			t.Fatal(err)
		}
		m.Insert([]dns.RR{rr})
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		messages[i] = tsig.SignRequest(b, k, time.Now())
	}
	return messages
}
