package fault

import (
	"os"
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An upgrade, and the way back: for a while replicas of an earlier release and of this one share the storage, the certificate and the
// Lease. Each reads what the other writes, whoever leads.
func TestTwoReleasesSideBySide(t *testing.T) {
	binary := os.Getenv("OLDER_SERVER")
	if binary == "" {
		t.Skip("needs the server of an earlier release: make test-long")
	}
	ns := plane.Namespace(t)
	older := launchBinary(t, binary, "older", servicePort(t), lease()...)
	older.awaitReady(t)
	aggregated(t)
	awaitLeader(t, older)
	first := create(t, older.web, web(ns, "first"))
	ready(t, older.web, first, 1)
	before := workloads(t, ns)

	newer := standBy(t, "newer", lease()...)
	second := create(t, newer.web, web(ns, "second"))
	ready(t, older.web, second, 1)
	demand(t, newer.web, first, 200)
	ready(t, newer.web, first, 2)
	same(t, older, newer, ns)
	unharmed(t, ns, before, "while the older one leads")

	older.stop()
	awaitLeader(t, newer)
	demand(t, newer.web, first, 300)
	ready(t, newer.web, first, 3)
	older = launchBinary(t, binary, "older-again", servicePort(t), lease()...)
	older.awaitReady(t)
	aggregated(t)
	demand(t, older.web, second, 200)
	ready(t, older.web, second, 2)
	same(t, older, newer, ns)
	unharmed(t, ns, before, "while the newer one leads")

	newer.stop()
	awaitLeader(t, older)
	demand(t, older.web, first, 400)
	ready(t, older.web, first, 4)
	unharmed(t, ns, before, "back with the older one")
}

// same compares what both say of all objects.
func same(t testing.TB, one, other *replica, ns string) {
	t.Helper()
	said, err := one.web.ElasticwebV1().ElasticWebs(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, is := range said.Items {
		also, err := other.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), is.Name, metav1.GetOptions{})
		if err != nil || !apiequality.Semantic.DeepEqual(is.Spec, also.Spec) || is.UID != also.UID || is.Generation != also.Generation {
			t.Errorf("%s is %+v for %s, and %+v for %s (%v)", is.Name, is, one.name, also, other.name, err)
		}
	}
	if len(said.Items) != 2 {
		t.Errorf("%d objects", len(said.Items))
	}
}
