package primary

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/backup"
)

// Before a restore, whoever may serve the zones is asked for their serials: what is restored must be beyond them (C3). A server that
// does not answer is no obstacle, since a restored serial is moved far past the saved one anyhow.

const (
	askTimeout = 2 * time.Second
	// askSilence without an answer is enough of one server.
	askSilence = 3
	// askAtOnce is how many queries one server is asked at a time.
	askAtOnce = 16
)

// askedSerials are what the servers answered.
type askedSerials struct {
	servers []adminapi.AskedServer

	mu       sync.Mutex
	newestOf map[string]uint32
}

// newest is the newest serial of a zone that somebody serves.
func (s *askedSerials) newest(name string, _ uint32) (uint32, bool) {
	serial, ok := s.newestOf[name]
	return serial, ok
}

// note takes a serial. Which of two is newer is seen from the saved one.
func (s *askedSerials) note(name string, saved, serial uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.newestOf[name]; !ok || serial-saved < 1<<31 && serial-saved > old-saved || old-saved >= 1<<31 {
		s.newestOf[name] = serial
	}
}

// askSerials asks those that the backup names, secondaries and targets of NOTIFY, and those that the request names.
func (a *admin) askSerials(ctx context.Context, m *backup.Manifest, more []string) *askedSerials {
	saved := make(map[string]uint32, len(m.Zones)+1)
	servers := map[string]bool{}
	for _, z := range m.Zones {
		saved[z.Name] = z.Serial
		for _, target := range z.Settings.AlsoNotify {
			if words := strings.Fields(target); len(words) > 0 {
				servers[words[0]] = true
			}
		}
	}
	if m.Catalog != nil {
		saved[m.Catalog.Name] = m.Catalog.Serial
	}
	for _, s := range m.Secondaries {
		for _, addr := range s.Notify {
			servers[addr] = true
		}
	}
	for _, addr := range more {
		servers[addr] = true
	}
	out := &askedSerials{newestOf: map[string]uint32{}}
	addrs := slices.Sorted(maps.Keys(servers))
	out.servers = make([]adminapi.AskedServer, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() { out.servers[i] = out.ask(ctx, addr, saved) })
	}
	wg.Wait()
	return out
}

// ask asks one server for every zone, until it was silent too often.
func (s *askedSerials) ask(ctx context.Context, addr string, saved map[string]uint32) adminapi.AskedServer {
	out := adminapi.AskedServer{Address: addr}
	var mu sync.Mutex
	silent, why := 0, error(nil)
	room := make(chan struct{}, askAtOnce)
	var wg sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(saved)) {
		room <- struct{}{}
		mu.Lock()
		enough := silent >= askSilence && out.Answers == 0
		mu.Unlock()
		if enough || ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			serial, err := askSerial(ctx, addr, name)
			if err == nil {
				s.note(name, saved[name], serial)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				out.Answers++
			case errors.Is(err, errNotServed):
			default:
				silent, why = silent+1, err
			}
		})
	}
	wg.Wait()
	if why != nil {
		out.Error = why.Error()
	}
	return out
}

// errNotServed: the server answers, and does not serve the zone.
var errNotServed = errors.New("it does not serve the zone")

func askSerial(ctx context.Context, addr, name string) (uint32, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, dns.TypeSOA)
	q.RecursionDesired = false
	client := &dns.Client{Timeout: askTimeout}
	resp, _, err := client.ExchangeContext(ctx, q, addr)
	if err != nil {
		return 0, fmt.Errorf("ask %s for the serial of %s: %w", addr, name, err)
	}
	if resp.Authoritative {
		for _, rr := range resp.Answer {
			if soa, ok := rr.(*dns.SOA); ok && strings.EqualFold(soa.Hdr.Name, name) {
				return soa.Serial, nil
			}
		}
	}
	return 0, fmt.Errorf("%s: %s: %w", addr, name, errNotServed)
}
