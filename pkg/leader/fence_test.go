package leader

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// roundTripper answers after a delay, and notes what has reached it.
type roundTripper struct {
	delay    time.Duration
	reached  int
	answered atomic.Bool
}

func (r *roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	r.reached++
	select {
	case <-request.Context().Done():
		return nil, request.Context().Err()
	case <-time.After(r.delay):
		r.answered.Store(true)
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	}
}

func send(ctx context.Context, transport http.RoundTripper, method string) error {
	request, err := http.NewRequestWithContext(ctx, method, "https://host/", strings.NewReader("{}"))
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func TestFence(t *testing.T) {
	const lease = 10 * time.Second
	tests := []struct {
		name string
		// prepare is what happens before the write.
		prepare     func(*Fence)
		method      string
		takes       time.Duration
		want        error
		wantReached int
	}{
		{name: "never opened", prepare: func(*Fence) {}, method: http.MethodPatch, want: ErrNotLeader},
		{name: "a read, never opened", prepare: func(*Fence) {}, method: http.MethodGet, wantReached: 1},
		{name: "open", prepare: func(f *Fence) { f.open(time.Now().Add(lease)) }, method: http.MethodPatch, wantReached: 1},
		{name: "the lease has run out", prepare: func(f *Fence) {
			f.open(time.Now().Add(lease))
			time.Sleep(lease)
		}, method: http.MethodPut, want: ErrNotLeader},
		{name: "the lease has run out and the timer is late", prepare: func(f *Fence) {
			f.open(time.Now().Add(lease))
			f.timer.Stop()
			time.Sleep(lease)
		}, method: http.MethodPost, want: ErrNotLeader},
		{name: "renewed in time", prepare: func(f *Fence) {
			f.open(time.Now().Add(lease))
			time.Sleep(lease - 1)
			f.open(time.Now().Add(lease))
			time.Sleep(lease - 1)
		}, method: http.MethodDelete, wantReached: 1},
		{name: "it runs out in flight", prepare: func(f *Fence) { f.open(time.Now().Add(lease)) },
			method: http.MethodPatch, takes: lease + 1, want: ErrNotLeader, wantReached: 1},
		{name: "renewed in flight", prepare: func(f *Fence) {
			f.open(time.Now().Add(lease))
			time.AfterFunc(lease-1, func() { f.open(time.Now().Add(lease)) })
		}, method: http.MethodPatch, takes: lease + 1, wantReached: 1},
		{name: "renewed, and then it runs out in flight", prepare: func(f *Fence) {
			f.open(time.Now().Add(lease))
			time.Sleep(lease / 2)
			f.open(time.Now().Add(lease))
		}, method: http.MethodPatch, takes: lease + 1, want: ErrNotLeader, wantReached: 1},
		{name: "lost", prepare: func(f *Fence) {
			f.open(time.Now().Add(lease))
			f.lose()
		}, method: http.MethodPatch, want: ErrNotLeader},
		{name: "lost in flight", prepare: func(f *Fence) {
			f.open(time.Now().Add(lease))
			time.AfterFunc(1, f.lose)
		}, method: http.MethodPatch, takes: 2, want: ErrNotLeader, wantReached: 1},
		{name: "retired", prepare: func(f *Fence) {
			f.open(time.Now().Add(lease))
			f.retire()
		}, method: http.MethodPatch, want: ErrNotLeader},
		{name: "opened again", prepare: func(f *Fence) {
			f.open(time.Now().Add(lease))
			f.lose()
			f.open(time.Now().Add(lease))
		}, method: http.MethodPatch, wantReached: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := &roundTripper{delay: tt.takes}
				fence := &Fence{}
				tt.prepare(fence)
				if err := send(t.Context(), fence.Transport(next), tt.method); !errors.Is(err, tt.want) {
					t.Errorf("the write got %v, want %v", err, tt.want)
				}
				if next.reached != tt.wantReached {
					t.Errorf("%d requests left, want %d", next.reached, tt.wantReached)
				}
				// Whatever came of it, nothing is in flight any more.
				fence.inFlight.Wait()
			})
		})
	}
}

func TestAWriteThatHasLeftIsWaitedFor(t *testing.T) {
	const lease, takes = 10 * time.Second, 3 * time.Second
	tests := []struct {
		name  string
		takes time.Duration
		want  time.Duration
	}{
		{name: "until it is answered", takes: takes, want: takes},
		{name: "until the lease runs out", takes: time.Hour, want: lease},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fence := &Fence{}
				fence.open(time.Now().Add(lease))
				begin := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				sent := make(chan error, 1)
				go func() { sent <- send(ctx, fence.Transport(&roundTripper{delay: tt.takes}), http.MethodPatch) }()
				synctest.Wait()
				// Its caller has lost interest: that calls nothing back.
				cancel()
				synctest.Wait()
				if len(sent) > 0 {
					t.Fatalf("the write ended with its caller: %v", <-sent)
				}
				fence.retire()
				if waited := time.Since(begin); waited != tt.want {
					t.Errorf("waited %v, want %v", waited, tt.want)
				}
				if err := <-sent; (err != nil) != (tt.takes > lease) {
					t.Errorf("the write got %v", err)
				}
				if err := send(ctx, fence.Transport(&roundTripper{}), http.MethodPatch); !errors.Is(err, context.Canceled) {
					t.Errorf("a write whose caller has gone got %v, want that it is not sent", err)
				}
			})
		})
	}
}
