package fault

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/storage/identity"
	"elasticweb.example.com/test/cluster"
)

// versions are the resource versions of all ElasticWebs, Deployments and Services of a namespace, and its Events.
func versions(t testing.TB, r *replica, namespace string) map[string]string {
	t.Helper()
	found := map[string]string{}
	add := func(kind string, object metav1.Object) {
		found[kind+"/"+object.GetName()] = object.GetResourceVersion()
	}
	webs, err := r.web.ElasticwebV1().ElasticWebs(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range webs.Items {
		add("elasticweb", &webs.Items[i])
	}
	deployments, err := plane.Kube.AppsV1().Deployments(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range deployments.Items {
		add("deployment", &deployments.Items[i])
	}
	services, err := plane.Kube.CoreV1().Services(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range services.Items {
		add("service", &services.Items[i])
	}
	events, err := plane.Kube.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=ElasticWeb"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events.Items {
		add("event", &events.Items[i])
	}
	return found
}

// restart starts the server on what it left behind, waits until it has looked at every object, and returns what it asked of
// the host meanwhile.
func restart(t testing.TB, objects int) (*replica, []request) {
	t.Helper()
	audit := auditFromNow(t)
	r := serve(t, "restarted")
	cluster.Eventually(t, "a pass over each object", func(context.Context) (bool, string) {
		passes := r.metric(t, "elasticweb_controller_reconcile_duration_seconds_count")
		depth := r.metric(t, `workqueue_depth{name="elasticweb"}`)
		return passes >= float64(objects) && depth == 0, fmt.Sprintf("%v passes, %v waiting", passes, depth)
	})
	return r, audit.requests(t)
}

// A restart must not be a write storm, and what it reads must not grow with the number of objects.
func TestARestartWritesNothing(t *testing.T) {
	ns := plane.Namespace(t)
	requests := map[int]map[string]int{}
	r := serve(t, "first")
	// Their ElasticWebs are deleted while we serve, and each deletion counts for the storage's identity.
	othersGone(t, ns)
	objects := 0
	for _, more := range []int{50, 450} {
		var creators sync.WaitGroup
		for i := range more {
			creators.Go(func() {
				w := web(ns, fmt.Sprintf("w%03d", objects+i))
				if (objects+i)%10 != 0 {
					// Most without Pods: it is our work that is looked at.
					w.Spec.TotalQPS = ptr.To[int32](0)
				}
				if _, err := r.web.ElasticwebV1().ElasticWebs(ns).Create(t.Context(), w, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
		creators.Wait()
		objects += more
		begin := time.Now()
		allReady(t, r.web, ns, objects)
		t.Logf("%d more objects are Ready %v after they were created", more, time.Since(begin).Round(100*time.Millisecond))
		r.stop()

		var seen []request
		r, seen = restart(t, objects)
		if writes := count(seen, request.writes); len(writes) != 0 {
			t.Errorf("%d objects: the restarted server wrote: %s", objects, describe(writes))
		}
		// Access reviews are asked for whoever asks us, and the list of schemas by the clock.
		requests[objects] = count(seen, func(r request) bool {
			return r.ObjectRef.Resource != "subjectaccessreviews" && r.RequestURI != "/openapi/v3"
		})
	}
	if !maps.Equal(requests[50], requests[500]) {
		t.Errorf("requests after a restart:\nwith  50 objects: %s\nwith 500 objects: %s", describe(requests[50]), describe(requests[500]))
	}
	t.Logf("requests after a restart: %s", describe(requests[500]))

	// Nor does anything change later, or in the own etcd.
	before := versions(t, r, ns)
	r.stop()
	r, _ = restart(t, objects)
	time.Sleep(2 * time.Second)
	if after := versions(t, r, ns); !maps.Equal(before, after) {
		for name, version := range after {
			if before[name] != version {
				t.Errorf("%s was written by the restarted server", name)
			}
		}
	}
}

// statuses follows the writes of an ElasticWeb's status.
func statuses(t testing.TB, r *replica, ns, name string) func() []v1.ElasticWeb {
	t.Helper()
	watch, err := r.web.ElasticwebV1().ElasticWebs(ns).Watch(t.Context(), metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watch.Stop)
	var mu sync.Mutex
	var seen []v1.ElasticWeb
	go func() {
		for event := range watch.ResultChan() {
			if web, ok := event.Object.(*v1.ElasticWeb); ok {
				mu.Lock()
				seen = append(seen, *web)
				mu.Unlock()
			}
		}
	}()
	return func() []v1.ElasticWeb {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

func childWrites(requests []request, ns string) string {
	return describe(count(requests, func(r request) bool {
		return r.writes() && r.ObjectRef.Namespace == ns && r.ObjectRef.Resource != "events"
	}))
}

func TestWhatAnObjectCosts(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server")
	awaitLeader(t, r)
	// What throttles writes waits no longer than a second: a late one would be seen.
	settle := func() { time.Sleep(2 * time.Second) }
	for round := range either(1, 3) {
		name := fmt.Sprint("web", round)
		audit, seen := auditFromNow(t), statuses(t, r, ns, name)
		w := web(ns, name)
		w.Spec.TotalQPS = ptr.To[int32](300)
		w = create(t, r.web, w)
		ready(t, r.web, w, 3)
		settle()
		if got, want := childWrites(audit.requests(t), ns), "patch deployments: 1, patch services: 1"; got != want {
			t.Errorf("a new object: %s, want %s", got, want)
		}
		// The first is the creation. Applied, 0/3, 3/3 and Ready; and numbers alone once a second, if the Pods are not ready at once.
		if writes := len(seen()) - 1; writes > 5 {
			t.Errorf("a new object: %d status writes, want 5 at most: %s", writes, story(seen()))
		} else {
			t.Logf("a new object: %d status writes: %s", writes, story(seen()))
		}

		audit = auditFromNow(t)
		before := len(seen())
		demand(t, r.web, w, 500)
		ready(t, r.web, w, 5)
		settle()
		if got, want := childWrites(audit.requests(t), ns), "patch deployments: 1"; got != want {
			t.Errorf("a capacity change: %s, want %s", got, want)
		}
		t.Logf("a capacity change: %d status writes", len(seen())-before-1)

		audit = auditFromNow(t)
		if _, err := r.web.ElasticwebV1().ElasticWebs(ns).Patch(t.Context(), name, types.MergePatchType,
			[]byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		settle()
		if got := childWrites(audit.requests(t), ns); got != "" {
			t.Errorf("a change that asks for nothing: %s", got)
		}
	}
}

// story is a status write by status write.
func story(seen []v1.ElasticWeb) (s string) {
	for _, web := range seen {
		s += fmt.Sprintf("[%d/%d", web.Status.ReadyReplicas, web.Status.DesiredReplicas)
		for _, condition := range web.Status.Conditions {
			s += fmt.Sprintf(" %s=%s/%s", condition.Type, condition.Status, condition.Reason)
		}
		s += "] "
	}
	return s
}

// othersGone waits until the namespaces of earlier tests are gone: what goes on in them is asked of us.
func othersGone(t testing.TB, mine string) {
	t.Helper()
	cluster.Eventually(t, "the namespaces of earlier tests to be gone", func(ctx context.Context) (bool, string) {
		namespaces, err := plane.Kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, namespace := range namespaces.Items {
			if namespace.DeletionTimestamp != nil && namespace.Name != mine {
				return false, namespace.Name + " is there"
			}
		}
		return true, ""
	})
}

// What is asked of us costs an access review when its answer is not at hand: kube-controller-manager looks around every half
// a minute. And the library's MutatingAdmissionPolicy asks for the list of schemas every 5 s. The rest is ours, and is the lease.
func TestIdleIsTheLeaseAlone(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server")
	for i := range 20 {
		create(t, r.web, web(ns, fmt.Sprint("web", i)))
	}
	allReady(t, r.web, ns, 20)
	othersGone(t, ns)
	// The number of the storage's identity rises for the last time.
	time.Sleep(identity.RaisePeriod + 2*time.Second)
	audit := auditFromNow(t)
	idle := either(15*time.Second, time.Minute)
	time.Sleep(idle)
	leases, reviews, schemas := 0, 0, 0
	for _, seen := range audit.requests(t) {
		switch {
		case seen.ObjectRef.Resource == "subjectaccessreviews":
			reviews++
		case seen.RequestURI == "/openapi/v3":
			schemas++
		case seen.ObjectRef.Resource == "leases" && seen.Verb == "update":
			leases++
		case seen.Verb == "watch":
			// The renewal of one that has run for some minutes.
		default:
			t.Errorf("idle, and yet: %s %s", seen.Verb, seen.RequestURI)
		}
	}
	if most := int(idle/time.Second) + 1; leases < 1 || leases > most {
		t.Errorf("the lease was renewed %d times in %v, want one a second", leases, idle)
	}
	if most := int(idle/(5*time.Second)) + 1; schemas > most {
		t.Errorf("the list of schemas was asked for %d times in %v", schemas, idle)
	}
	t.Logf("%v idle: %d renewals of the lease, %d access reviews, %d times the list of schemas", idle, leases, reviews, schemas)
}
