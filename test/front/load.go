package front

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// way is one of those that updates can take to the primaries.
type way struct {
	name  string
	addrs []string // of clients, dealt out
	// costs are the processes that this way needs beside the primaries.
	costs func() []int
}

// cell is what a load through one way came to.
type cell struct {
	requests int
	rate     float64         // acknowledged updates a second
	took     []time.Duration // of each, sorted
	cpu      map[string]float64
	failed   []string
}

func (c cell) quantile(q float64) time.Duration {
	if len(c.took) == 0 {
		return 0
	}
	return c.took[min(len(c.took)-1, int(q*float64(len(c.took))))]
}

// warmUp is not counted: connections are made, and the budget of the CPU's clock is used up.
const warmUp = time.Second

// drive loads a way with clients that each replace a record of their own, again and again: as fast as answers come, or, when rate
// is not 0, together so many a second.
func (s *site) drive(network string, w way, clients int, rate float64, length time.Duration) cell {
	s.t.Helper()
	s.streams++
	ctx, cancel := context.WithTimeout(context.Background(), warmUp+length)
	defer cancel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		out  cell
		from = time.Now().Add(warmUp)
	)
	groups := map[string][]int{"clients": {os.Getpid()}, "front": w.costs()}
	for _, name := range primaryNames() {
		p := s.c.Primary(name)
		groups["primaries"] = append(groups["primaries"], p.PID, p.NamedPID)
	}
	for i := range clients {
		c := s.client(network, w.addrs[i%len(w.addrs)])
		name := zone.MustParseName(fmt.Sprintf("load-%d-%d.%s", s.streams, i, origin))
		wg.Go(func() {
			var took []time.Duration
			var failed []string
			next := time.Now().Add(time.Duration(i) * time.Millisecond)
			for n := 0; ctx.Err() == nil; n++ {
				if rate > 0 {
					select {
					case <-time.After(time.Until(next)):
					case <-ctx.Done():
						continue
					}
					next = next.Add(time.Duration(float64(clients) / rate * float64(time.Second)))
				}
				began := time.Now()
				rcode, err := c.update(zone.MustParseName(origin), nil, []zone.RR{
					{Name: name, Type: zone.TypeA, Class: zone.ClassANY},
					{Name: name, Type: zone.TypeA, Class: zone.ClassIN, TTL: 60, Data: string(binary.BigEndian.AppendUint32(nil, uint32(n)))},
				})
				switch {
				case err != nil || rcode != 0:
					failed = append(failed, fmt.Sprintf("rcode %d, %v", rcode, err))
				case began.After(from) && ctx.Err() == nil:
					took = append(took, time.Since(began))
				}
			}
			if c.kept != nil {
				_ = c.kept.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			out.took = append(out.took, took...)
			out.failed = append(out.failed, failed...)
		})
	}
	<-time.After(time.Until(from))
	before := s.cpuTimes(groups)
	<-ctx.Done()
	after := s.cpuTimes(groups)
	wg.Wait()
	slices.Sort(out.took)
	out.requests = len(out.took)
	out.rate = float64(out.requests) / length.Seconds()
	out.cpu = map[string]float64{}
	for name := range groups {
		out.cpu[name] = float64((after[name] - before[name]).Microseconds()) / float64(max(1, out.requests))
	}
	return out
}

// cpuTimes gives what groups of processes have used so far; one that is gone counts nothing.
func (s *site) cpuTimes(groups map[string][]int) map[string]time.Duration {
	const tick = 10 * time.Millisecond // USER_HZ, 100 on every Linux
	out := map[string]time.Duration{}
	for name, pids := range groups {
		for _, pid := range pids {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil {
				continue
			}
			f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // a name may hold spaces
			for _, field := range f[11:13] {                               // user and system time
				if n, err := strconv.ParseInt(field, 10, 64); err == nil {
					out[name] += time.Duration(n) * tick
				}
			}
		}
	}
	return out
}

// dnsdist starts dnsdist at a host, before all primaries, with or without PROXY headers.
func (s *site) dnsdist(host string, port uint16, proxy bool) way {
	s.t.Helper()
	dir := s.t.TempDir()
	h := s.Host(host)
	var conf strings.Builder
	fmt.Fprintf(&conf, "setLocal(%q, {reusePort=true})\naddLocal(%[1]q, {reusePort=true})\nsetACL({'0.0.0.0/0', '::/0'})\n", addrPort(h.V4, port))
	fmt.Fprintf(&conf, "setMaxTCPClientThreads(4)\nsetMaxUDPOutstanding(65535)\nsetServerPolicy(leastOutstanding)\n")
	for _, p := range primaryNames() {
		// It would ask for a root; what the primaries serve is one zone.
		fmt.Fprintf(&conf, "newServer({address=%q, name=%q, checkName=%q, checkType='SOA', useProxyProtocol=%v, sockets=4})\n",
			addrPort(s.Host(p).V4, portDNS), p, origin, proxy)
	}
	file := filepath.Join(dir, "dnsdist.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	proc := harness.StartProcess(s.t, s.Command(host, "dnsdist", "--supervised", "-C", file), filepath.Join(dir, "log"))
	name := "dnsdist"
	if proxy {
		name = "dnsdist, PROXY"
	}
	w := way{name, []string{addrPort(h.V4, port)}, func() []int { return []int{proc.PID()} }}
	s.until(patient, name+" passes a write", func(context.Context) error {
		if err := proc.Alive(); err != nil {
			return err
		}
		return s.client("udp", w.addrs[0]).nothing()
	})
	return w
}
