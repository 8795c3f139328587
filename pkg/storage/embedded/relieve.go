package embedded

import (
	"context"
	"errors"
	"fmt"
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
	// sayAgain is how often it is said that nothing helps.
	sayAgain = time.Minute
)

// Relieve compacts and defragments when the quota is exceeded, and disarms the alarm when that has helped, until ctx ends. While the
// alarm is on, etcd answers reads and refuses writes.
func (e *Etcd) Relieve(ctx context.Context) {
	logger := klog.FromContext(ctx).WithName("etcd")
	var said time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(alarmPeriod):
		}
		alarmed := false
		for _, alarm := range e.server.Server.Alarms() {
			alarmed = alarmed || alarm.Alarm == pb.AlarmType_NOSPACE
		}
		if !alarmed {
			said = time.Time{}
			continue
		}
		say := time.Since(said) >= sayAgain
		if say {
			said = time.Now()
			logger.Info("Warning: the quota of the embedded etcd is exceeded: writes are refused. Compacting and defragmenting", "quotaBytes", e.quota)
		}
		freed, err := e.relieve(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			logger.Error(err, "Cannot make room in the embedded etcd, will try again")
		case freed:
			logger.Info("There is room in the embedded etcd again, writes go on")
		case say:
			logger.Error(nil, "The embedded etcd is full of objects that exist: delete some, or give it a larger --embedded-etcd-quota-backend-bytes", "quotaBytes", e.quota)
		}
	}
}

// relieve says whether writes go on.
func (e *Etcd) relieve(ctx context.Context) (bool, error) {
	server := e.server.Server
	if _, err := server.Compact(ctx, &pb.CompactionRequest{Revision: server.KV().Rev(), Physical: true}); err != nil && !errors.Is(err, mvcc.ErrCompacted) {
		return false, fmt.Errorf("compact: %w", err)
	}
	// Only what is smaller afterwards is worth the pause: a defragmentation stops everything.
	backend := server.Backend()
	if free := e.quota - backend.SizeInUse(); free*100 < e.quota*relieved {
		return false, nil
	}
	if err := backend.Defrag(); err != nil {
		return false, fmt.Errorf("defragment: %w", err)
	}
	if backend.Size() >= e.quota {
		return false, nil
	}
	disarm := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: uint64(server.MemberID()), Alarm: pb.AlarmType_NOSPACE}
	if _, err := server.Alarm(ctx, disarm); err != nil {
		return false, fmt.Errorf("disarm the alarm: %w", err)
	}
	return true, nil
}
