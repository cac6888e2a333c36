package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
)

// components of a primary by the package of the innermost frame that belongs to
// one; packages that serve several (zone, tsig) count for their caller.
func components() []struct{ prefix, name string } {
	return []struct{ prefix, name string }{
		{"github.com/zonekeeper/zonekeeper/internal/endpoint.", "endpoint"},
		{"github.com/zonekeeper/zonekeeper/internal/fsm", "apply"},
		{"github.com/zonekeeper/zonekeeper/internal/update.", "apply"},
		{"github.com/zonekeeper/zonekeeper/internal/publish.", "publish"},
		{"github.com/zonekeeper/zonekeeper/internal/named.", "publish"},
		{"github.com/zonekeeper/zonekeeper/internal/replica.", "replica"},
		{"github.com/zonekeeper/zonekeeper/internal/log.", "etcd"},
		{"go.etcd.io/", "etcd"},
		{"google.golang.org/grpc", "etcd"},
		{"net/http.", "admin"},
		{"runtime.gcBgMarkWorker", "garbage collection"},
		{"runtime.bgsweep", "garbage collection"},
	}
}

// otherComponent is the scheduler, the network poller and whatever has no frame of ours.
const otherComponent = "runtime"

// profiler collects one CPU profile from each primary while a cell runs.
type profiler struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	cost map[string]int64
	errs []error
}

func startProfiles(ctx context.Context, primaries []devcluster.PrimaryInfo, d time.Duration) *profiler {
	p := &profiler{cost: map[string]int64{}}
	for _, pr := range primaries {
		p.wg.Go(func() {
			cost, err := fetchProfile(ctx, pr.Admin, d)
			p.mu.Lock()
			defer p.mu.Unlock()
			if err != nil {
				p.errs = append(p.errs, fmt.Errorf("profile of %s: %w", pr.Name, err))
			}
			for name, v := range cost {
				p.cost[name] += v
			}
		})
	}
	return p
}

// split distributes a cost as the samples are distributed.
func (p *profiler) split(total float64) (map[string]float64, error) {
	p.wg.Wait()
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	var sum int64
	for _, v := range p.cost {
		sum += v
	}
	m := map[string]float64{}
	for name, v := range p.cost {
		m[name] = total * float64(v) / float64(sum)
	}
	return m, nil
}

func fetchProfile(ctx context.Context, admin string, d time.Duration) (map[string]int64, error) {
	url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", admin, max(1, int(d.Seconds())))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return costByComponent(b)
}

// costByComponent reads a pprof profile (github.com/google/pprof, profile.proto) and
// sums the last value of each sample, CPU nanoseconds, by component.
func costByComponent(zipped []byte) (map[string]int64, error) {
	z, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	type sample struct {
		stack []uint64 // innermost first
		value int64
	}
	var samples []sample
	var names []string
	locations := map[uint64][]uint64{} // to functions, innermost first
	functions := map[uint64]uint64{}   // to names
	err = fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 2: // Profile.sample
			var s sample
			err := fields(data, func(num protowire.Number, v uint64, data []byte) error {
				switch num {
				case 1:
					return numbers(v, data, func(n uint64) { s.stack = append(s.stack, n) })
				case 2:
					return numbers(v, data, func(n uint64) { s.value = int64(n) }) //nolint:gosec // nanoseconds
				}
				return nil
			})
			samples = append(samples, s)
			return err
		case 4: // Profile.location
			var id uint64
			var lines []uint64
			err := fields(data, func(num protowire.Number, v uint64, data []byte) error {
				switch num {
				case 1:
					id = v
				case 4:
					return fields(data, func(num protowire.Number, v uint64, _ []byte) error {
						if num == 1 {
							lines = append(lines, v)
						}
						return nil
					})
				}
				return nil
			})
			locations[id] = lines
			return err
		case 5: // Profile.function
			var id, name uint64
			err := fields(data, func(num protowire.Number, v uint64, _ []byte) error {
				switch num {
				case 1:
					id = v
				case 2:
					name = v
				}
				return nil
			})
			functions[id] = name
			return err
		case 6: // Profile.string_table
			names = append(names, string(data))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	cost := map[string]int64{}
	for _, s := range samples {
		var stack []string
		for _, l := range s.stack {
			for _, f := range locations[l] {
				if n := functions[f]; n < uint64(len(names)) {
					stack = append(stack, names[n])
				}
			}
		}
		cost[componentOf(stack)] += s.value
	}
	return cost, nil
}

func componentOf(stack []string) string {
	rules := components()
	for _, frame := range stack {
		for _, r := range rules {
			if strings.HasPrefix(frame, r.prefix) {
				return r.name
			}
		}
	}
	return otherComponent
}

// fields calls fn for every field of a message: a varint's value, or bytes.
func fields(b []byte, fn func(num protowire.Number, v uint64, data []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("profile: %w", protowire.ParseError(n))
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("profile: %w", protowire.ParseError(n))
		}
		b = b[n:]
		if err := fn(num, v, data); err != nil {
			return err
		}
	}
	return nil
}

// numbers calls fn for each value of a repeated number: packed in data, or the single v.
func numbers(v uint64, data []byte, fn func(uint64)) error {
	if data == nil {
		fn(v)
		return nil
	}
	for len(data) > 0 {
		v, n := protowire.ConsumeVarint(data)
		if n < 0 {
			return fmt.Errorf("profile: %w", protowire.ParseError(n))
		}
		fn(v)
		data = data[n:]
	}
	return nil
}
