package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"k8s.io/klog/v2"
)

const (
	// alarmPeriod is how often etcd is asked whether it has raised an alarm. It costs nothing: nothing is sent.
	alarmPeriod = time.Second
	// relieved is the part of the quota, in percent, that must be free before writes are let in again: or the alarm would ring at the next.
	relieved = 5
	// tryAgain is how soon it is tried again although nothing was deleted: what an attempt did not free, the next one may.
	tryAgain = 10 * time.Second
	// sayAgain is how often it is said that nothing helps.
	sayAgain = time.Minute
)

// Relieve compacts and defragments when the quota is exceeded, and disarms the alarm when that has helped, until ctx ends. While the
// alarm is on, etcd answers reads and refuses writes.
func (e *Etcd) Relieve(ctx context.Context) {
	logger := klog.FromContext(ctx).WithName("etcd")
	var said, next, last time.Time
	tried := int64(-1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(alarmPeriod):
		}
		if !e.full() {
			said, tried = time.Time{}, -1
			continue
		}
		if time.Since(said) >= sayAgain {
			said = time.Now()
			logger.Error(nil, "The quota of the embedded etcd is exceeded: writes are refused until there is room. If it is full of objects that exist, delete some, or give it a larger --embedded-etcd-quota-backend-bytes", "quotaBytes", e.quota)
		}
		// While writes are refused only deletions change the revision: without one there is little to gain.
		revision := e.server.Server.KV().Rev()
		if revision == tried && time.Since(last) < tryAgain || time.Now().Before(next) {
			continue
		}
		begin := time.Now()
		tried, last = revision, begin
		freed, err := e.relieve(ctx)
		// A defragmentation stops everything: it gets a small part of the time.
		next = time.Now().Add(10 * time.Since(begin))
		if err != nil && ctx.Err() == nil {
			tried = -1
			logger.Error(err, "Cannot make room in the embedded etcd, will try again")
		} else if freed {
			logger.Info("There is room in the embedded etcd again, writes go on", "sizeBytes", e.server.Server.Backend().Size())
		}
	}
}

// full says whether etcd has raised the alarm.
func (e *Etcd) full() bool {
	return slices.ContainsFunc(e.server.Server.Alarms(), func(alarm *pb.AlarmMember) bool { return alarm.Alarm == pb.AlarmType_NOSPACE })
}

// relieve says whether writes go on.
func (e *Etcd) relieve(ctx context.Context) (bool, error) {
	server := e.server.Server
	if _, err := server.Compact(ctx, &pb.CompactionRequest{Revision: server.KV().Rev(), Physical: true}); err != nil && !errors.Is(err, mvcc.ErrCompacted) {
		return false, fmt.Errorf("compact: %w", err)
	}
	// What is free before this cannot be known: pages that were freed last are not counted until something is written.
	if err := server.Backend().Defrag(); err != nil {
		return false, fmt.Errorf("defragment: %w", err)
	}
	if free := e.quota - server.Backend().Size(); free*100 < e.quota*relieved {
		return false, nil
	}
	disarm := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: uint64(server.MemberID()), Alarm: pb.AlarmType_NOSPACE}
	if _, err := server.Alarm(ctx, disarm); err != nil {
		return false, fmt.Errorf("disarm the alarm: %w", err)
	}
	return true, nil
}
