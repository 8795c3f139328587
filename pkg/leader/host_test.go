package leader

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// host keeps one Lease, as an API server does: an update of an old picture is refused.
type host struct {
	mu    sync.Mutex
	lease *coordinationv1.Lease
}

// connection is one process's way to the host.
type connection struct {
	coordinationv1client.LeaseInterface
	host *host

	mu     sync.Mutex
	parted bool
	// slow is how long an answer takes after what was asked for is done.
	slow time.Duration
	// onUpdate sees what is sent.
	onUpdate func(*coordinationv1.Lease)
}

func (c *connection) Leases(string) coordinationv1client.LeaseInterface { return c }

func (c *connection) part(parted bool) {
	c.change(func() { c.parted = parted })
}

// change changes the connection while it is in use.
func (c *connection) change(how func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	how()
}

// reach hangs while the connection is parted, as packets that are dropped do.
func (c *connection) reach(ctx context.Context) error {
	for {
		c.mu.Lock()
		parted := c.parted
		c.mu.Unlock()
		if !parted {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

var leases = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

func (c *connection) Get(ctx context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	if c.host.lease == nil {
		return nil, apierrors.NewNotFound(leases, name)
	}
	return c.host.lease.DeepCopy(), nil
}

func (c *connection) Create(ctx context.Context, lease *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	if c.host.lease != nil {
		return nil, apierrors.NewAlreadyExists(leases, lease.Name)
	}
	c.host.lease = lease.DeepCopy()
	c.host.lease.ResourceVersion = "1"
	return c.host.lease.DeepCopy(), nil
}

func (c *connection) Update(ctx context.Context, lease *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	if err := c.reach(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	onUpdate, slow := c.onUpdate, c.slow
	c.mu.Unlock()
	if onUpdate != nil {
		onUpdate(lease)
	}
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	if lease.ResourceVersion != c.host.lease.ResourceVersion {
		return nil, apierrors.NewConflict(leases, lease.Name, errors.New("changed"))
	}
	version, _ := strconv.Atoi(lease.ResourceVersion)
	c.host.lease = lease.DeepCopy()
	c.host.lease.ResourceVersion = strconv.Itoa(version + 1)
	answer := c.host.lease.DeepCopy()
	if slow > 0 {
		c.host.mu.Unlock()
		time.Sleep(slow)
		c.host.mu.Lock()
	}
	return answer, nil
}

// candidate is one process.
type candidate struct {
	*connection
	fence   *Fence
	stop    context.CancelFunc
	stopped chan struct{}

	mu      sync.Mutex
	leading bool
	terms   int
}

func (c *candidate) isLeading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leading
}

// mayWrite: a write would leave now.
func (c *candidate) mayWrite() bool {
	_, leave, err := c.fence.enter()
	if err != nil {
		return false
	}
	leave()
	return true
}

// contend starts a candidate. Its work takes a while to end.
func contend(ctx context.Context, host *host, name string, ends time.Duration) *candidate {
	ctx, stop := context.WithCancel(ctx)
	c := &candidate{connection: &connection{host: host}, fence: &Fence{}, stop: stop, stopped: make(chan struct{})}
	elector := NewElector(Config{
		Client: c, Namespace: "system", Name: "server", Identity: name, Times: times, Fence: c.fence,
		Lead: func(ctx context.Context) {
			c.mu.Lock()
			c.leading = true
			c.terms++
			c.mu.Unlock()
			<-ctx.Done()
			time.Sleep(ends)
			c.mu.Lock()
			c.leading = false
			c.mu.Unlock()
		},
	})
	go func() {
		defer close(c.stopped)
		elector.Run(ctx)
	}()
	return c
}

// until advances time until the condition holds, and returns how long that took.
func until(t *testing.T, limit time.Duration, what string, condition func() bool) time.Duration {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if synctest.Wait(); condition() {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			t.Fatalf("after %v: not %s", limit, what)
		}
	}
}
