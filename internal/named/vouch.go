package named

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// This file keeps a secondary's named from serving what its disk has damaged.

// sortOut takes away the files that named must not load, before each of its starts. What is left and in doubt is for the
// Session's user to compare before it calls Open.
func (s *Server) sortOut(ctx context.Context, own owner) (evidence, error) {
	rec, err := own.readRecord()
	if err != nil {
		s.log.Warn("what the zone files were is not known", "err", err)
	}
	if rec.Ended && rec.Conf != own.confTime() {
		// Another release that keeps no record has run named since.
		rec.Ended = false
	}
	ev, err := own.examine(ctx, rec)
	if err != nil {
		return ev, err
	}
	// named is about to change them. If that could not be written down, they would all be taken for damaged next time.
	rec.Ended = false
	if err := own.writeRecord(rec); err != nil {
		if rmErr := os.Remove(filepath.Join(own.dir, recordFile)); rmErr != nil {
			return ev, err
		}
		s.log.Warn("no record of the zone files is kept", "err", err)
	}
	for _, name := range ev.damaged {
		s.log.Error("a zone file is not what named wrote; it is set aside, and its zone is transferred anew", "file", filepath.Join(own.dir, name), "kept", own.damagedFiles())
		if err := own.discard(name); err != nil {
			return ev, err
		}
		ev.doubtful = slices.DeleteFunc(ev.doubtful, func(n string) bool { return zoneFileOf(n) == zoneFileOf(name) })
	}
	return ev, nil
}

// keepRecord looks at the files while named runs, until the returned function is called.
func (s *Server) keepRecord(ctx context.Context, own owner) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		rec, _ := own.readRecord() // what is not known is looked at
		for {
			t := time.NewTimer(max(recordEvery, filePatience*time.Duration(len(rec.Files))))
			select {
			case <-ctx.Done():
				t.Stop()
				return
			case <-t.C:
			}
			now, changed, err := own.look(ctx, rec, settled)
			if err == nil && changed {
				err = own.writeRecord(now)
			}
			rec = now
			if err != nil && ctx.Err() == nil {
				s.log.Warn("the record of the zone files is out of date", "err", err)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// sealRecord notes the files as a named left them that has ended in order.
func (s *Server) sealRecord(own owner) {
	rec, err := own.readRecord()
	if err == nil {
		rec, _, err = own.look(context.Background(), rec, 0)
	}
	if err == nil {
		rec.Ended, rec.Conf = true, own.confTime()
		err = own.writeRecord(rec)
	}
	if err != nil {
		s.log.Warn("the next start compares all zone files with the primaries'", "err", err)
	}
}

// Damaged names the zones whose files were not what named had written and were set aside before this incarnation started.
// The zones are those of all, the names of files that belong to none of them come apart.
func (s *Session) Damaged(all []zone.Name) (zones []zone.Name, others []string) {
	return s.zonesOf(s.evidence.damaged, all)
}

// Doubtful names the zones, of all, whose files changed after they were last looked at and before this incarnation started:
// the last that a named wrote which did not end in order, or damage. Files that belong to none of them come apart.
func (s *Session) Doubtful(all []zone.Name) (zones []zone.Name, others []string) {
	return s.zonesOf(s.evidence.doubtful, all)
}

func (s *Session) zonesOf(files []string, all []zone.Name) (zones []zone.Name, others []string) {
	if len(files) == 0 {
		return nil, nil
	}
	of := make(map[string]zone.Name, len(all))
	for _, z := range all {
		of[s.cfg.Secondary.MemberFile(z)] = z
	}
	of[catalogFile] = s.cfg.Secondary.Catalog
	seen := map[string]bool{}
	for _, f := range files {
		if f = zoneFileOf(f); seen[f] {
			continue
		}
		seen[f] = true
		if z, ok := of[f]; ok {
			zones = append(zones, z)
		} else {
			others = append(others, f)
		}
	}
	return zones, others
}

// Listening reports whether named listens on all its addresses. While files are in doubt it listens on Config.Listen[0] only, until
// Open.
func (s *Session) Listening() bool { return s.listening.Load() }

// reachable is the configuration that an incarnation starts with.
func (s *Session) reachable() Config {
	c := s.cfg
	if !s.Listening() {
		c.Listen, c.ListenProxy = c.Listen[:1], nil
	}
	return c
}

// Open makes named listen on all its addresses.
func (s *Session) Open(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.own.write(confFile, renderSecondary(s.cfg, s.build)); err != nil {
		return err
	}
	if _, err := s.command(ctx, "reconfig"); err != nil {
		return fmt.Errorf("make named listen on all its addresses: %w", err)
	}
	s.listening.Store(true)
	return nil
}
