package apiserver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"testing/synctest"
	"time"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

func TestConnectionsAreHandedOver(t *testing.T) {
	stopping := make(chan struct{})
	handler := withHandover(http.NotFoundHandler(), stopping, 0)
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	reused := func() (reused bool) {
		t.Helper()
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
		return get(ctx, t, server) && reused
	}
	reused()
	if !reused() {
		t.Fatal("a new connection for each request")
	}
	close(stopping)
	deadline := time.Now().Add(time.Minute)
	for reused() {
		if time.Now().After(deadline) {
			t.Fatal("still on the connection of before")
		}
	}
}

func get(ctx context.Context, t *testing.T, server *httptest.Server) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil && response.ProtoMajor == 2
}

// As long as the address may be in the Service, a new connection would only lead here again.
func TestTheHandoverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := make(chan struct{})
		handler := withHandover(http.NotFoundHandler(), stopping, 5*time.Second)
		closes := func() bool {
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
			return answer.Header().Get("Connection") == "close"
		}
		time.Sleep(time.Hour)
		if closes() {
			t.Error("closed before the stop")
		}
		close(stopping)
		time.Sleep(5*time.Second - 1)
		if closes() {
			t.Error("closed at once")
		}
		time.Sleep(2 * time.Nanosecond)
		if !closes() {
			t.Error("not closed")
		}
	})
}

// Who only watches would not see that the connection is to be left; whose watch begins later, does.
func TestWatchesAreHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := make(chan struct{})
		untilItEnds := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		handler := withHandover(untilItEnds, stopping, 4*time.Second)
		serve := func(ctx context.Context, verb string) (ended chan time.Time) {
			ended = make(chan time.Time, 1)
			request := httptest.NewRequestWithContext(apirequest.WithRequestInfo(ctx, &apirequest.RequestInfo{Verb: verb}), http.MethodGet, "/", nil)
			go func() {
				handler.ServeHTTP(httptest.NewRecorder(), request)
				ended <- time.Now()
			}()
			return ended
		}
		ctx, end := context.WithCancel(t.Context())
		watch, list := serve(ctx, "watch"), serve(ctx, "list")
		time.Sleep(time.Hour)
		begin := time.Now()
		close(stopping)
		if after := (<-watch).Sub(begin); after < 4*time.Second || after > 6*time.Second {
			t.Errorf("ended after %v", after)
		}
		late := serve(ctx, "watch")
		time.Sleep(time.Hour)
		select {
		case <-late:
			t.Error("a watch that knows was ended")
		case <-list:
			t.Error("what is no watch was ended")
		default:
		}
		end()
		<-late
		<-list
	})
}

// With the feature APIServingWithRoutine a handler only says how its watch is to be served, and that is done when it has returned.
func TestAWatchMayBeServedAfterItsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var served context.Context
		stopping := make(chan struct{})
		handler := withHandover(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { served = r.Context() }), stopping, 4*time.Second)
		ctx, end := context.WithCancel(t.Context())
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(
			apirequest.WithRequestInfo(ctx, &apirequest.RequestInfo{Verb: "watch"}), http.MethodGet, "/", nil))
		synctest.Wait()
		if served.Err() != nil {
			t.Error("the watch has ended before it began")
		}
		close(stopping)
		time.Sleep(time.Minute)
		if served.Err() == nil {
			t.Error("the watch is not handed over")
		}
		end()
	})
}
