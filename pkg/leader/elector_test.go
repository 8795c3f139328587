package leader

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

var times = Times{LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: time.Second}

// attempts is the longest time between two attempts to take the lease: client-go adds up to 1.2 times the period.
const attempts = 2200*time.Millisecond + 10*time.Millisecond

func TestACleanStopHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		first := contend(t.Context(), h, "first", 2*time.Second)
		until(t, 0, "first leads at once", first.isLeading)
		second := contend(t.Context(), h, "second", 0)
		time.Sleep(time.Minute)
		if second.isLeading() || !first.isLeading() || first.terms != 1 {
			t.Fatal("the lease changed hands while it was renewed")
		}
		first.change(func() {
			first.onUpdate = func(lease *coordinationv1.Lease) {
				if *lease.Spec.HolderIdentity == "" && (first.isLeading() || first.mayWrite()) {
					t.Error("the lease is released while the work goes on")
				}
			}
		})
		first.stop()
		took := until(t, time.Minute, "second leads", second.isLeading)
		// The work takes 2 s to end.
		if limit := 2*time.Second + attempts; took > limit {
			t.Errorf("the other leads after %v, want %v at most", took, limit)
		}
		<-first.stopped
		second.stop()
		<-second.stopped
	})
}

// A write in flight is answered before the lease is released.
func TestTheReleaseWaitsForWritesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = 5 * time.Second
		h := &host{}
		first := contend(t.Context(), h, "first", 0)
		until(t, 0, "first leads", first.isLeading)
		writes := &roundTripper{delay: takes}
		sent := make(chan error, 1)
		go func() { sent <- send(context.Background(), first.fence.Transport(writes), http.MethodPatch) }()
		synctest.Wait()
		released := false
		first.change(func() {
			first.onUpdate = func(lease *coordinationv1.Lease) {
				released = *lease.Spec.HolderIdentity == ""
				if released && !writes.answered.Load() {
					t.Error("the lease is released while a write is in flight")
				}
			}
		})
		first.stop()
		<-first.stopped
		if !released {
			t.Error("the lease is not released")
		}
		if err := <-sent; err != nil {
			t.Errorf("the write in flight got %v", err)
		}
	})
}

// A write that is never answered, while the lease is renewed, holds up the stop for no longer than the lease lasts.
func TestAStopEndsWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		ctx, stop := context.WithCancel(t.Context())
		fence := &Fence{}
		stopped := make(chan struct{})
		elector := NewElector(Config{
			Client: &connection{host: h}, Namespace: "system", Name: "server", Identity: "first", Times: times, Fence: fence,
			Lead: func(ctx context.Context) {
				if err := send(ctx, fence.Transport(&roundTripper{delay: time.Hour}), http.MethodPatch); !errors.Is(err, ErrNotLeader) {
					t.Errorf("the write got %v", err)
				}
			},
		})
		go func() {
			defer close(stopped)
			elector.Run(ctx)
		}()
		synctest.Wait()
		time.Sleep(time.Minute)
		begin := time.Now()
		stop()
		<-stopped
		if took, limit := time.Since(begin), times.RenewDeadline+times.LeaseDuration; took > limit {
			t.Errorf("stopped after %v, want %v at most", took, limit)
		}
	})
}

func TestAPartedLeaderStopsBeforeTheNextBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		first := contend(t.Context(), h, "first", time.Second)
		until(t, 0, "first leads", first.isLeading)
		second := contend(t.Context(), h, "second", time.Second)
		time.Sleep(time.Minute)
		first.part(true)
		took := until(t, time.Minute, "second leads", func() bool {
			if second.isLeading() && first.mayWrite() {
				t.Fatal("both may write")
			}
			return second.isLeading()
		})
		// The last renewal is seen at the next attempt, and so is its end.
		if limit := times.LeaseDuration + 2*attempts; took > limit {
			t.Errorf("the other leads after %v, want %v at most", took, limit)
		}
		first.part(false)
		time.Sleep(time.Minute)
		if first.isLeading() || !second.isLeading() || second.terms != 1 {
			t.Error("the healed one threw the other out")
		}
		second.stop()
		until(t, time.Second+attempts, "first leads again", first.isLeading)
		first.stop()
		<-first.stopped
		<-second.stopped
	})
}

// The others count from the moment when the lease was renewed, and so must its holder, however late it hears of it.
func TestALateAnswerDoesNotLengthenTheLease(t *testing.T) {
	// client-go's pauses are random.
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			h := &host{}
			first := contend(t.Context(), h, "first", 0)
			until(t, 0, "first leads", first.isLeading)
			second := contend(t.Context(), h, "second", 0)
			first.change(func() { first.slow = 4500 * time.Millisecond })
			time.Sleep(time.Minute)
			if !first.isLeading() {
				t.Error("a slow host has cost the lease")
			}
			first.part(true)
			both := false
			until(t, time.Minute, "second leads", func() bool {
				both = both || second.isLeading() && first.mayWrite()
				return second.isLeading()
			})
			if both {
				t.Error("both may write")
			}
			first.part(false)
			first.stop()
			second.stop()
			<-first.stopped
			<-second.stopped
		})
	}
}

// client-go releases by what it last wrote, on the resourceVersion that it has just read: that would be the successor's.
func TestAnotherOnesLeaseIsNotReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		first := contend(t.Context(), h, "first", 0)
		until(t, 0, "first leads", first.isLeading)
		first.part(true)
		// It gives up renewing, and will try to release for as long again. Another one takes the lease meanwhile.
		until(t, time.Minute, "the first has given up", func() bool { return !first.isLeading() })
		h.mu.Lock()
		other := "second"
		h.lease.Spec.HolderIdentity = &other
		h.lease.ResourceVersion = "1000"
		h.mu.Unlock()
		first.part(false)
		time.Sleep(5 * time.Second)
		h.mu.Lock()
		defer h.mu.Unlock()
		if *h.lease.Spec.HolderIdentity != other {
			t.Errorf("the holder is %q, want %q", *h.lease.Spec.HolderIdentity, other)
		}
		first.stop()
		<-first.stopped
	})
}

// A leader that finds out at once that another one has the lease stops at once.
func TestALeaderThatSeesAnotherStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		first := contend(t.Context(), h, "first", 0)
		until(t, 0, "first leads", first.isLeading)
		h.mu.Lock()
		other := "second"
		h.lease.Spec.HolderIdentity = &other
		h.lease.ResourceVersion = "1000"
		h.mu.Unlock()
		if took := until(t, time.Minute, "first has stopped", func() bool { return !first.isLeading() }); took > times.RetryPeriod {
			t.Errorf("stopped after %v, want %v at most", took, times.RetryPeriod)
		}
		if first.mayWrite() {
			t.Error("the fence is open")
		}
		first.stop()
		<-first.stopped
	})
}

// Up to six processes are parted and stopped at random. Never may two of them write.
func TestNeverTwo(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 0))
				h := &host{}
				all := make([]*candidate, 1+random.IntN(6))
				for i := range all {
					all[i] = contend(t.Context(), h, fmt.Sprint(i), time.Duration(random.IntN(3000))*time.Millisecond)
				}
				led := 0
				for range 3000 {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
					leading, writers := 0, 0
					for _, c := range all {
						if c.isLeading() {
							leading++
						}
						if c.mayWrite() {
							writers++
						}
					}
					led += min(leading, 1)
					if writers > 1 {
						t.Fatalf("%d may write", writers)
					}
					switch c := all[random.IntN(len(all))]; random.IntN(100) {
					case 0:
						c.part(true)
					case 1, 2:
						c.part(false)
					}
				}
				if led < 300 {
					t.Errorf("somebody led in %d of 3000 moments", led)
				}
				for _, c := range all {
					c.part(false)
					c.stop()
				}
				for _, c := range all {
					<-c.stopped
				}
			})
		})
	}
}

func TestTimes(t *testing.T) {
	tests := []struct {
		times Times
		want  string
	}{
		{times: times},
		{times: Times{LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second}, want: "--leader-elect-retry-period is 0s: it must be above 0"},
		{times: Times{LeaseDuration: 15 * time.Second, RenewDeadline: time.Second, RetryPeriod: time.Second},
			want: "--leader-elect-renew-deadline is 1s: it must be above 1.2 times --leader-elect-retry-period, 1s"},
		{times: Times{LeaseDuration: 10 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: time.Second},
			want: "--leader-elect-lease-duration is 10s: it must be --leader-elect-renew-deadline and --leader-elect-retry-period together, 11s, or more"},
		{times: Times{LeaseDuration: 15500 * time.Millisecond, RenewDeadline: 10 * time.Second, RetryPeriod: time.Second},
			want: "--leader-elect-lease-duration is 15.5s: it must be whole seconds, as a Lease has them"},
	}
	for _, tt := range tests {
		got := ""
		if err := tt.times.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.times, got, tt.want)
		}
	}
}
