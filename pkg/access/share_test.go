package access

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Identical reviews in flight are one; others are others.
func TestReviewsInFlightAreShared(t *testing.T) {
	var asked atomic.Int32
	arrived, answer := make(chan struct{}, 100), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		arrived <- struct{}{}
		<-answer
		_, _ = w.Write(append([]byte("answer to "), body...))
	}))
	defer server.Close()
	client := &http.Client{Transport: share(http.DefaultTransport)}
	ask := func(user string) string {
		response, err := client.Post(server.URL+"/apis/authorization.k8s.io/v1/subjectaccessreviews", "application/json", strings.NewReader(user))
		if err != nil {
			return err.Error()
		}
		defer func() { _ = response.Body.Close() }()
		text, _ := io.ReadAll(response.Body)
		return string(text)
	}
	var all sync.WaitGroup
	for i := range 20 {
		user := []string{"alice", "bob"}[i%2]
		all.Go(func() {
			if got := ask(user); got != "answer to "+user {
				t.Errorf("%s: %q", user, got)
			}
		})
	}
	<-arrived
	<-arrived
	close(answer)
	all.Wait()
	if n := asked.Load(); n < 2 || n > 19 {
		t.Errorf("%d reviews were sent for 20 requests of two users", n)
	}
	// What has been answered is not remembered here: that is the cache's.
	before := asked.Load()
	if got := ask("alice"); got != "answer to alice" || asked.Load() != before+1 {
		t.Errorf("%q, %d sent", got, asked.Load()-before)
	}
}
