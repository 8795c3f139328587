package leader

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lock is the Lease as the elector of client-go sees it. It opens the fence whenever the lease is taken or renewed, and shuts
// it before it is given away.
type lock struct {
	resourcelock.Interface
	fence *Fence
	// length is how long a claim to the lease is good, less what a request may take that leaves at the end of it.
	length time.Duration

	// holder is who held the lease when it was last read.
	holder string
	// term is the context of the first claim; nil: there was none.
	term context.Context
}

func (l *lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err == nil {
		l.holder = record.HolderIdentity
		if l.holder != l.Identity() {
			l.fence.lose()
		}
	}
	return record, raw, err
}

func (l *lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.claim(func() error { return l.Interface.Create(ctx, record) })
}

func (l *lock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == l.Identity() {
		return l.claim(func() error { return l.Interface.Update(ctx, record) })
	}
	// A release. client-go decides on it by what it last wrote, and sends it with the resourceVersion that it has just read: the
	// lease of a successor would be thrown away.
	if l.holder != l.Identity() {
		return fmt.Errorf("not released: the lease is held by %q", l.holder)
	}
	l.fence.retire()
	return l.Interface.Update(ctx, record)
}

// claim counts from the moment before the request left: others cannot have seen the lease renewed earlier than that.
func (l *lock) claim(send func() error) error {
	before := time.Now()
	if err := send(); err != nil {
		return err
	}
	l.holder = l.Identity()
	term := l.fence.open(before.Add(l.length))
	if l.term == nil {
		l.term = term
	}
	return nil
}
