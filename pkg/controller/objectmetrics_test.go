package controller

import (
	"strings"
	"testing"

	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/utils/ptr"

	elasticweblisters "elasticweb.example.com/pkg/generated/listers/elasticweb/v1"
)

func TestObjectMetrics(t *testing.T) {
	store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	registry := metrics.NewKubeRegistry()
	registry.CustomMustRegister(NewObjectMetrics(elasticweblisters.NewElasticWebLister(store)))
	expect := func(what, want string) {
		t.Helper()
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect("no object", "")

	web := sample()
	if err := store.Add(web); err != nil {
		t.Fatal(err)
	}
	const unobserved = `
# HELP elasticweb_condition [ALPHA] 1 while the condition of this type is True, else 0.
# TYPE elasticweb_condition gauge
elasticweb_condition{name="web",namespace="dev",type="CapacitySatisfied"} 0
elasticweb_condition{name="web",namespace="dev",type="Ready"} 0
elasticweb_condition{name="web",namespace="dev",type="ScalingLimited"} 0
elasticweb_condition{name="web",namespace="dev",type="Stalled"} 0
# HELP elasticweb_desired_replicas [ALPHA] status.desiredReplicas: the Pods that the service is to have.
# TYPE elasticweb_desired_replicas gauge
elasticweb_desired_replicas{name="web",namespace="dev"} 0
# HELP elasticweb_ready_replicas [ALPHA] status.readyReplicas: the Pods that are ready.
# TYPE elasticweb_ready_replicas gauge
elasticweb_ready_replicas{name="web",namespace="dev"} 0
# HELP elasticweb_total_qps [ALPHA] spec.totalQPS: the queries per second that the service must take.
# TYPE elasticweb_total_qps gauge
elasticweb_total_qps{name="web",namespace="dev"} 2400
`
	expect("not observed yet", unobserved)

	web = web.DeepCopy()
	web.Status = *seen(3, 3, 3).status()
	if err := store.Update(web); err != nil {
		t.Fatal(err)
	}
	expect("all ready", strings.NewReplacer(
		`"Ready"} 0`, `"Ready"} 1`, `"CapacitySatisfied"} 0`, `"CapacitySatisfied"} 1`,
		`replicas{name="web",namespace="dev"} 0`, `replicas{name="web",namespace="dev"} 3`,
		"# HELP elasticweb_total_qps", `# HELP elasticweb_real_qps [ALPHA] status.realQPS: the queries per second that the ready Pods take. Absent until first observed.
# TYPE elasticweb_real_qps gauge
elasticweb_real_qps{name="web",namespace="dev"} 2400
# HELP elasticweb_total_qps`).Replace(unobserved))

	web = web.DeepCopy()
	web.Spec.TotalQPS = ptr.To[int32](0)
	if err := store.Delete(web); err != nil {
		t.Fatal(err)
	}
	expect("deleted", "")
}
