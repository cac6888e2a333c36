package log

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// chore is what a member can do about its store's file.
type chore int

const (
	choreNone       chore = iota
	choreDefragment       // rewrite the file without the holes that compaction left
	choreDisarm           // lift this member's NOSPACE alarm
)

// decideReclaim says what a member should do about its store. Compaction frees pages inside the file, and later records
// use them again, so a file that once grew is harmless until it nears the quota, which counts the file and not the
// data. Rewriting it blocks the member while it lasts; it is done only from half of the quota up, and when it halves
// the file. While NOSPACE keeps everybody from writing, DBUsed does not fall either (bbolt counts freed pages at the
// next write); then it is tried again every few rounds; since is how many have passed. NOSPACE is lifted once a quarter
// of the quota is free, so that it does not come straight back.
func decideReclaim(s Status, since int) chore {
	full := slices.Contains(s.Alarms, alarmNoSpace)
	switch {
	case s.QuotaBytes <= 0:
		return choreNone
	case s.DBBytes > s.QuotaBytes/2 && s.DBUsed < s.DBBytes/2:
		return choreDefragment
	case full && s.DBBytes < s.QuotaBytes*3/4:
		return choreDisarm
	case full && since >= retryRounds:
		return choreDefragment
	}
	return choreNone
}

const (
	alarmNoSpace = "NOSPACE"
	retryRounds  = 4
)

// keepHouse does the chores of decideReclaim until the member closes.
func (m *Member) keepHouse() {
	tick := time.NewTicker(m.cfg.Housekeeping)
	defer tick.Stop()
	for since := 0; ; since++ {
		select {
		case <-tick.C:
		case <-m.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(m.ctx, time.Minute)
		if m.doChore(ctx, since) == choreDefragment {
			since = 0
		}
		cancel()
	}
}

func (m *Member) doChore(ctx context.Context, since int) chore {
	s, err := embedded{m}.status(ctx)
	if err != nil {
		m.log.Debug("log: housekeeping: status", "err", err)
		return choreNone
	}
	todo := decideReclaim(s, since)
	switch todo {
	case choreDefragment:
		m.log.Info("log: defragmenting the store", "bytes", s.DBBytes, "used", s.DBUsed, "quota", s.QuotaBytes)
		if err := m.etcd.Server.Defragment(); err != nil { // the in-process client has no health notifier and would panic
			m.log.Warn("log: defragmenting the store failed", "err", err)
		}
	case choreDisarm:
		alarm := &clientv3.AlarmMember{MemberID: m.ID(), Alarm: etcdserverpb.AlarmType_NOSPACE}
		if _, err := m.cli.AlarmDisarm(ctx, alarm); err != nil {
			m.log.Warn("log: lifting NOSPACE failed", "err", err)
			return todo
		}
		m.log.Info("log: there is space again, NOSPACE lifted", "bytes", s.DBBytes, "quota", s.QuotaBytes)
	case choreNone:
	}
	return todo
}
