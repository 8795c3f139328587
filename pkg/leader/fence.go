package leader

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// ErrNotLeader is what a write gets that the fence does not let through, and the cause of the end of one that it cut off.
var ErrNotLeader = errors.New("this process does not hold the lease, or may not any more: the write was not sent, or was cut off")

// Fence lets writes through while the lease is certainly ours. The elector opens it; it shuts by itself when the lease may
// have run out. Time is the monotonic clock's: a jump of the wall clock moves nothing.
type Fence struct {
	mu sync.Mutex
	// until is when the lease may have run out. The zero time: the fence is shut.
	until time.Time
	timer *time.Timer
	// term ends when the fence shuts because the lease is lost; it is the parent of every write.
	term     context.Context
	end      context.CancelCauseFunc
	inFlight sync.WaitGroup
}

// open lets writes through until then. It returns the context that ends if the fence has to shut before it is opened again.
func (f *Fence) open(until time.Time) context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.until.IsZero() {
		f.term, f.end = context.WithCancelCause(context.Background())
		f.timer = time.AfterFunc(time.Until(until), f.expire)
	}
	f.until = until
	f.timer.Reset(time.Until(until))
	return f.term
}

// expire is the timer's. It may come late, or while the lease is being renewed.
func (f *Fence) expire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.until.IsZero() && !time.Now().Before(f.until) {
		f.cut()
	}
}

// lose shuts the fence and cuts off what is in flight: the lease is somebody else's.
func (f *Fence) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.until.IsZero() {
		f.cut()
	}
}

// cut needs the mutex.
func (f *Fence) cut() {
	f.until = time.Time{}
	f.timer.Stop()
	f.end(ErrNotLeader)
}

// retire shuts the fence to new writes and returns when those in flight have been answered, or have been cut off since the
// lease ran out meanwhile.
func (f *Fence) retire() {
	f.mu.Lock()
	open := !f.until.IsZero()
	end, deadline := f.end, f.until
	if open {
		f.until = time.Time{}
		f.timer.Stop()
	}
	f.mu.Unlock()
	if open {
		defer end(ErrNotLeader)
		defer time.AfterFunc(time.Until(deadline), func() { end(ErrNotLeader) }).Stop()
	}
	f.inFlight.Wait()
}

// enter returns the context of one write, and what to call when it has been answered.
func (f *Fence) enter() (context.Context, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// The clock, too: the timer of a process that slept is late.
	if f.until.IsZero() || !time.Now().Before(f.until) {
		return nil, nil, ErrNotLeader
	}
	f.inFlight.Add(1)
	return f.term, sync.OnceFunc(f.inFlight.Done), nil
}

// Transport puts the fence into a client, as rest.Config.Wrap takes it. Reads pass at any time, so caches stay filled.
func (f *Fence) Transport(next http.RoundTripper) http.RoundTripper {
	return &transport{fence: f, next: next}
}

type transport struct {
	fence *Fence
	next  http.RoundTripper
}

// WrappedRoundTripper lets client-go find the transport beneath.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper. A write that has left is not called back when its caller loses interest: whoever
// releases the lease has to know that it has been answered. Only the loss of the lease ends it.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet || request.Method == http.MethodHead {
		return t.next.RoundTrip(request)
	}
	refuse := func(err error) (*http.Response, error) {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, err
	}
	if err := context.Cause(request.Context()); err != nil {
		return refuse(err)
	}
	term, leave, err := t.fence.enter()
	if err != nil {
		return refuse(err)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(request.Context()))
	detach := context.AfterFunc(term, func() { cancel(ErrNotLeader) })
	done := func() {
		detach()
		cancel(nil)
		leave()
	}
	response, err := t.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		if errors.Is(context.Cause(ctx), ErrNotLeader) {
			err = ErrNotLeader
		}
		done()
		return nil, err
	}
	response.Body = &body{ReadCloser: response.Body, done: done}
	return response, nil
}

// body ends the write when its answer has been read.
type body struct {
	io.ReadCloser
	done func()
}

func (b *body) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
