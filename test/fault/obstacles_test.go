package fault

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/test/cluster"
)

func stalled(t testing.TB, r *replica, w *v1.ElasticWeb, reason, message string) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("%s to be Stalled for %s", w.Name, reason), func(ctx context.Context) (bool, string) {
		now, err := r.web.ElasticwebV1().ElasticWebs(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		condition := apimeta.FindStatusCondition(now.Status.Conditions, v1.ConditionStalled)
		return condition != nil && condition.Reason == reason && strings.Contains(condition.Message, message), fmt.Sprintf("%+v", now.Status.Conditions)
	})
}

// A rollout that gets nowhere is reported with what the Deployment says, the Pods that are there go on, and a template that can be
// scheduled ends it.
func TestARolloutThatGetsNowhere(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server", "--rollout-progress-deadline=3s")
	w := create(t, r.web, web(ns, "web"))
	ready(t, r.web, w, 1)
	change := func(body string) {
		t.Helper()
		if _, err := r.web.ElasticwebV1().ElasticWebs(ns).Patch(t.Context(), "web", types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	change(`{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":"here"}}}}}`)
	stalled(t, r, w, "ProgressDeadlineExceeded", "has timed out progressing")
	now, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || now.Status.RealQPS == nil || *now.Status.RealQPS != 100 {
		t.Errorf("realQPS is %v, want that of the Pod which is still there (%v)", now.Status.RealQPS, err)
	}
	change(`{"spec":{"template":null}}`)
	ready(t, r.web, w, 1)
}

// The host's range of node ports may be narrower than what our server was told, and another ElasticWeb may get a port between
// our question and the answer: the Service's allocator is the truth.
func TestANodePortThatTheHostRefuses(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server", "--service-node-port-range=20000-40000", "--disable-admission-plugins=ElasticWebPort")
	outside := web(ns, "outside")
	outside.Spec.Port = ptr.To[int32](20001)
	outside = create(t, r.web, outside)
	stalled(t, r, outside, "NodePortUnavailable", "20001")
	// The Deployment is there all the same.
	replicasBecome(t, ns, "outside", 1)

	first, second := web(ns, "first"), web(ns, "second")
	first.Spec.Port, second.Spec.Port = ptr.To[int32](30030), ptr.To[int32](30030)
	first = create(t, r.web, first)
	ready(t, r.web, first, 1)
	second = create(t, r.web, second)
	stalled(t, r, second, "NodePortUnavailable", "30030")
	if err := r.web.ElasticwebV1().ElasticWebs(ns).Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ready(t, r.web, second, 1)
}

// While the host is away nothing is lost and nothing invented; when it is back, all goes on.
func TestTheHostIsAway(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server", lease()...)
	w := create(t, r.web, web(ns, "web"))
	ready(t, r.web, w, 1)
	r.host.cut()
	cluster.Eventually(t, "it stops leading", func(context.Context) (bool, string) { return !r.leads(t), "it leads" })
	demand(t, r.web, w, 300)
	r.host.mend()
	ready(t, r.web, w, 3)
	if deployment, service, err := children(t.Context(), ns, "web"); err != nil || deployment == nil || service == nil || service.Spec.Type != corev1.ServiceTypeNodePort {
		t.Errorf("children: %v %v %v", deployment, service, err)
	}
}
