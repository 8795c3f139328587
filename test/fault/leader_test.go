package fault

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/test/cluster"
)

// lease are shorter times than the default, in the short form.
func lease() []string {
	return either([]string{"--leader-elect-lease-duration=4s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms"}, nil)
}

// leaderAndStandBy are two replicas, the first of which leads, and an ElasticWeb of theirs that is Ready with one Pod.
func leaderAndStandBy(t testing.TB) (leader, standby *replica, w *v1.ElasticWeb) {
	t.Helper()
	ns := plane.Namespace(t)
	leader = serve(t, "leader", lease()...)
	awaitLeader(t, leader)
	standby = standBy(t, "standby", lease()...)
	w = create(t, leader.web, web(ns, "web"))
	ready(t, standby.web, w, 1)
	if standby.leads(t) {
		t.Fatal("both lead")
	}
	return leader, standby, w
}

// history is all that a Deployment's spec.replicas has been, in order.
type history struct {
	mu     sync.Mutex
	values []int32
}

func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprint(h.values)
}

func watchReplicas(t testing.TB, w *v1.ElasticWeb) *history {
	t.Helper()
	watch, err := plane.Kube.AppsV1().Deployments(w.Namespace).Watch(t.Context(), metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", w.Name).String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watch.Stop)
	h := &history{}
	go func() {
		for event := range watch.ResultChan() {
			deployment, ok := event.Object.(*appsv1.Deployment)
			if !ok {
				continue
			}
			h.mu.Lock()
			if n := len(h.values); n == 0 || h.values[n-1] != *deployment.Spec.Replicas {
				h.values = append(h.values, *deployment.Spec.Replicas)
			}
			h.mu.Unlock()
		}
	}()
	return h
}

// takesOver changes the demand once the old leader is gone, and measures until the cluster shows that the new one acts on it.
func takesOver(t testing.TB, standby *replica, w *v1.ElasticWeb, how string) {
	t.Helper()
	begin := time.Now()
	demand(t, standby.web, w, 200)
	replicasBecome(t, w.Namespace, w.Name, 2)
	t.Logf("took over after %s: %v", how, time.Since(begin).Round(10*time.Millisecond))
	ready(t, standby.web, w, 2)
}

func TestTheStandByTakesOverAfterACleanStop(t *testing.T) {
	leader, standby, w := leaderAndStandBy(t)
	leader.signal(syscall.SIGTERM)
	takesOver(t, standby, w, "a clean stop")
	select {
	case <-leader.exited:
	case <-time.After(cluster.Limit):
		t.Error("the leader does not stop")
	}
}

func TestTheStandByTakesOverAfterAKill(t *testing.T) {
	leader, standby, w := leaderAndStandBy(t)
	leader.signal(syscall.SIGKILL)
	takesOver(t, standby, w, "a kill")
}

// A leader is cut off from the host with a write on its way. When that arrives, two decisions later, it changes nothing.
func TestACutOffLeaderChangesNothing(t *testing.T) {
	leader, standby, w := leaderAndStandBy(t)
	seen := watchReplicas(t, w)
	leader.host.cut()
	// The leader still learns of this, from its own etcd, and its write is stuck on the way.
	demand(t, leader.web, w, 200)
	replicasBecome(t, w.Namespace, w.Name, 2)
	if !standby.leads(t) {
		t.Error("somebody acts who does not lead")
	}
	cluster.Eventually(t, "the cut off leader to stop leading", func(context.Context) (bool, string) { return !leader.leads(t), "it leads" })
	demand(t, standby.web, w, 300)
	ready(t, standby.web, w, 3)
	before := replicasBecome(t, w.Namespace, w.Name, 3)
	audit := auditFromNow(t)

	leader.host.mend()
	cluster.Eventually(t, "the late write to arrive, and to be refused", func(context.Context) (bool, string) {
		for _, r := range audit.requests(t) {
			if r.Verb == "patch" && r.ObjectRef.Resource == "deployments" && r.ObjectRef.Name == w.Name {
				// 409 by its resourceVersion, or 504 since its sender has called it off.
				return r.ResponseStatus.Code >= 400, fmt.Sprint(r.ResponseStatus.Code)
			}
		}
		return false, "it has not arrived"
	})
	after := replicasBecome(t, w.Namespace, w.Name, 3)
	if after.Generation != before.Generation || seen.String() != "[1 2 3]" {
		t.Errorf("generation %d, before %d; spec.replicas was %v in turn, want [1 2 3]", after.Generation, before.Generation, seen)
	}
	// It is of use again.
	standby.stop()
	demand(t, leader.web, w, 400)
	replicasBecome(t, w.Namespace, w.Name, 4)
}

// A process that slept through the end of its lease does nothing of what it had in mind.
func TestALeaderThatWakesUpChangesNothing(t *testing.T) {
	leader, standby, w := leaderAndStandBy(t)
	seen := watchReplicas(t, w)
	for round := int32(2); round <= either[int32](3, 10); round++ {
		// With something to do in its hands, or just before.
		demand(t, leader.web, w, 100*(2*round-2))
		leader.signal(syscall.SIGSTOP)
		replicasBecome(t, w.Namespace, w.Name, 2*round-2)
		awaitLeader(t, standby)
		demand(t, standby.web, w, 100*(2*round-1))
		ready(t, standby.web, w, 2*round-1)
		before := replicasBecome(t, w.Namespace, w.Name, 2*round-1)

		leader.signal(syscall.SIGCONT)
		cluster.Eventually(t, "the sleeper to contend again", func(context.Context) (bool, string) { return !leader.leads(t), "it leads" })
		// It has seen what there is, and has had time to act on it.
		time.Sleep(time.Second)
		after := replicasBecome(t, w.Namespace, w.Name, 2*round-1)
		if after.Generation != before.Generation {
			t.Errorf("generation %d, before %d; spec.replicas was %v in turn", after.Generation, before.Generation, seen)
		}
		leader, standby = standby, leader
	}
}
