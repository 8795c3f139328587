package leader

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// Config is what an Elector works with.
type Config struct {
	// Client must not be behind the fence.
	Client coordinationv1client.LeasesGetter
	// Namespace and Name are the Lease's.
	Namespace, Name string
	// Identity tells this process from all others, earlier ones of the same host included.
	Identity string
	Times    Times
	// Fence is opened while the lease is ours. All that Lead writes to the host has to go through it.
	Fence *Fence
	// Lead does the leader's work until its context ends. It is called once in each term, never twice at a time.
	Lead func(ctx context.Context)
}

// Times are those of kube-controller-manager's flags of the same names.
type Times struct {
	// LeaseDuration is how long the others wait before they take a lease that is not renewed.
	LeaseDuration time.Duration
	// RenewDeadline is how long the leader tries to renew before it gives up; it is shorter than LeaseDuration.
	RenewDeadline time.Duration
	// RetryPeriod is the time between two attempts to take or to renew the lease.
	RetryPeriod time.Duration
}

// Validate returns what is wrong with the times.
func (t Times) Validate() error {
	switch {
	case t.RetryPeriod <= 0:
		return fmt.Errorf("--leader-elect-retry-period is %v: it must be above 0", t.RetryPeriod)
	case float64(t.RenewDeadline) <= leaderelection.JitterFactor*float64(t.RetryPeriod):
		return fmt.Errorf("--leader-elect-renew-deadline is %v: it must be above %v times --leader-elect-retry-period, %v",
			t.RenewDeadline, leaderelection.JitterFactor, t.RetryPeriod)
	case t.LeaseDuration < t.RenewDeadline+t.RetryPeriod:
		return fmt.Errorf("--leader-elect-lease-duration is %v: it must be --leader-elect-renew-deadline and --leader-elect-retry-period together, %v, or more",
			t.LeaseDuration, t.RenewDeadline+t.RetryPeriod)
	case t.LeaseDuration%time.Second != 0:
		return fmt.Errorf("--leader-elect-lease-duration is %v: it must be whole seconds, as a Lease has them", t.LeaseDuration)
	default:
		return nil
	}
}

// Elector contends for the lease, again and again, and leads while it has it.
type Elector struct{ config Config }

// NewElector returns an elector that Run starts.
func NewElector(config Config) *Elector { return &Elector{config: config} }

// Run contends until ctx ends, and returns when the work has ended and the lease is released. Whoever loses the lease contends
// again: the process also serves the API, and that has to go on.
func (e *Elector) Run(ctx context.Context) {
	logger := klog.FromContext(ctx).WithName("leader")
	ctx = klog.NewContext(ctx, logger)
	for ctx.Err() == nil {
		if err := e.term(ctx); err != nil {
			logger.Error(err, "Cannot contend for the lease")
		}
		select {
		case <-ctx.Done():
		case <-time.After(e.config.Times.RetryPeriod):
		}
	}
}

// term is from one attempt to become the leader to the end of the leadership that follows.
func (e *Elector) term(ctx context.Context) error {
	lock := &lock{
		Interface: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: e.config.Namespace, Name: e.config.Name},
			Client:     e.config.Client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: e.config.Identity},
		},
		fence: e.config.Fence,
		// What leaves at the last moment has a retry period to arrive.
		length: e.config.Times.LeaseDuration - e.config.Times.RetryPeriod,
	}
	// The lease is renewed until the work has ended, so it does not end with ctx.
	election, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var mu sync.Mutex
	leading, ended := false, make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		Name:            e.config.Name,
		LeaseDuration:   e.config.Times.LeaseDuration,
		RenewDeadline:   e.config.Times.RenewDeadline,
		RetryPeriod:     e.config.Times.RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(lost context.Context) {
				defer close(ended)
				mu.Lock()
				leading = true
				mu.Unlock()
				e.lead(ctx, lost, lock.term)
				stop()
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if leading {
			// A host that renews the lease, and never answers a write, does not hold up the stop for ever.
			time.AfterFunc(e.config.Times.RenewDeadline, stop)
		} else {
			stop()
		}
	})()
	elector.Run(election)
	if lock.term != nil {
		// client-go has begun the work, and does not wait for it.
		<-ended
		e.config.Fence.lose()
	}
	return nil
}

// lead works until the process is to stop, the elector gives up, or the fence shuts, whichever comes first.
func (e *Elector) lead(ctx, lost, term context.Context) {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(lost, func() { cancel(ErrNotLeader) })()
	defer context.AfterFunc(term, func() { cancel(ErrNotLeader) })()
	logger := klog.FromContext(ctx).WithValues("identity", e.config.Identity)
	logger.Info("Leading")
	e.config.Lead(work)
	if errors.Is(context.Cause(work), ErrNotLeader) {
		logger.Info("Lost the lease, will contend for it again")
	} else {
		logger.Info("No longer leading")
	}
}
