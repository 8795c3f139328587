package fault

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elasticweb.example.com/test/cluster"
)

// heap is what the replica, which has --profiling, holds after its garbage was collected, in MiB. The least of some looks: what a
// request is doing just now is no leak.
func (r *replica) heap(t testing.TB) (least float64) {
	t.Helper()
	for range 5 {
		if err := r.raw.Discovery().RESTClient().Get().AbsPath("/debug/pprof/heap").Param("gc", "1").Do(t.Context()).Error(); err != nil {
			t.Fatal(err)
		}
		if now := r.metric(t, "go_memstats_heap_alloc_bytes") / (1 << 20); least == 0 || now < least {
			least = now
		}
		time.Sleep(500 * time.Millisecond)
	}
	return least
}

// Complaint 12: what comes and goes leaves nothing behind, in memory or running.
func TestWhatComesAndGoesLeavesNothing(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "soaked", append(lease(), "--profiling=true")...)
	awaitLeader(t, r)
	// Each of them opens and ends watches, is refused, and creates, changes and deletes objects, all the way to the children.
	rounds := 0
	round := func() {
		rounds++
		inParallel(10, func(i int) {
			// Names that are new: the cluster's controllers would back off from those that come and go.
			w := create(t, plane.Web, web(ns, fmt.Sprintf("web%d-%d", rounds, i)))
			for range 100 {
				ctx, end := context.WithCancel(t.Context())
				watch, err := r.web.ElasticwebV1().ElasticWebs(ns).Watch(ctx, metav1.ListOptions{})
				if err != nil {
					t.Error(err)
				} else {
					watch.Stop()
				}
				end()
			}
			if err := tryDemand(t.Context(), plane.Web, w, -1); err == nil {
				t.Error("a negative demand was accepted")
			}
			ready(t, plane.Web, w, 1)
			demand(t, plane.Web, w, 200)
			ready(t, plane.Web, w, 2)
		})
		if err := plane.Web.ElasticwebV1().ElasticWebs(ns).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, "the children to go", func(ctx context.Context) (bool, string) {
			deployments, err := plane.Kube.AppsV1().Deployments(ns).List(ctx, metav1.ListOptions{})
			return err == nil && len(deployments.Items) == 0, fmt.Sprint(err)
		})
	}
	// Until caches and buffers have the size that they keep, and connections are open. A watch cache remembers what happened within
	// the last 75 seconds: the long form waits for that.
	for range either(3, 75) {
		round()
	}
	before, running := r.heap(t), r.metric(t, "go_goroutines ")
	begin, more := time.Now(), either(4, 150)
	for range more {
		round()
	}
	after, still := r.heap(t), r.metric(t, "go_goroutines ")
	t.Logf("%d rounds in %v: %.1f MiB and %v goroutines before, %.1f MiB and %v after", more, time.Since(begin).Round(time.Second), before, running, after, still)
	// A round opens a thousand watches: what each would leave is seen. The recorder of Events remembers the last 4096 objects that it
	// spoke of, which the long form begins to fill.
	if after > before+either(4.0, 12.0) || still > running+30 {
		t.Errorf("it grows: from %.1f to %.1f MiB, from %v to %v goroutines", before, after, running, still)
	}
}
