package fault

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"elasticweb.example.com/test/cluster"
)

// inParallel calls f for each of 0..n-1, twenty at a time.
func inParallel(n int, f func(i int)) {
	var group sync.WaitGroup
	for worker := range 20 {
		group.Go(func() {
			for i := worker; i < n; i += 20 {
				f(i)
			}
		})
	}
	group.Wait()
}

// How fast a server that starts makes the missing children of 300 ElasticWebs, by the number of workers.
func BenchmarkConcurrentSyncs(b *testing.B) {
	const objects = 300
	for _, workers := range []int{1, 2, 4, 8, 16, 32, 64} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			ns := fmt.Sprintf("bench-%d-%d", workers, time.Now().Unix())
			plane.Kubectl(b, "create", "namespace", ns)
			first := serve(b, "first")
			inParallel(objects, func(i int) {
				w := web(ns, fmt.Sprint("web", i))
				w.Spec.TotalQPS = ptr.To[int32](0)
				create(b, first.web, w)
			})
			allReady(b, first.web, ns, objects)
			first.stop()
			for b.Loop() {
				b.StopTimer()
				deleteChildren(b, ns)
				b.StartTimer()
				r := standBy(b, "bench", fmt.Sprintf("--concurrent-elasticweb-syncs=%d", workers))
				for {
					if r.metric(b, `elasticweb_controller_child_writes_total`) >= 2*objects {
						break
					}
					time.Sleep(20 * time.Millisecond)
				}
				b.StopTimer()
				r.stop()
				b.StartTimer()
			}
			plane.Kubectl(b, "delete", "namespace", ns, "--wait=false")
		})
	}
}

// deleteChildren returns when they are gone.
func deleteChildren(b *testing.B, ns string) {
	b.Helper()
	background := metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}
	if err := plane.Kube.AppsV1().Deployments(ns).DeleteCollection(b.Context(), background, metav1.ListOptions{}); err != nil {
		b.Fatal(err)
	}
	services, err := plane.Kube.CoreV1().Services(ns).List(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	inParallel(len(services.Items), func(i int) {
		if err := plane.Kube.CoreV1().Services(ns).Delete(b.Context(), services.Items[i].Name, background); err != nil {
			b.Error(err)
		}
	})
	for left := 1; left > 0; time.Sleep(100 * time.Millisecond) {
		deployments, err := plane.Kube.AppsV1().Deployments(ns).List(b.Context(), metav1.ListOptions{})
		if err != nil {
			b.Fatal(err)
		}
		services, err := plane.Kube.CoreV1().Services(ns).List(b.Context(), metav1.ListOptions{})
		if err != nil {
			b.Fatal(err)
		}
		left = len(deployments.Items) + len(services.Items)
	}
	// The controllers of the plane tidy up, too, and would share the machine.
	time.Sleep(5 * time.Second)
}

// The informers see every Deployment of the cluster. Those that are not ours cost us next to nothing.
func TestForeignDeploymentsCostLittle(t *testing.T) {
	ns := plane.Namespace(t)
	count, most := either(500, 5000), either(2.0, 10.0)
	heap := func() float64 {
		r := serve(t, "server", "--profiling=true")
		awaitLeader(t, r)
		// A pass over one of ours comes when the caches are filled.
		probe := web(ns, "probe")
		if _, err := r.web.ElasticwebV1().ElasticWebs(ns).Create(t.Context(), probe, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		cluster.Eventually(t, "a pass", func(context.Context) (bool, string) {
			return r.metric(t, "elasticweb_controller_reconcile_duration_seconds_count") > 0, "none"
		})
		least := r.heap(t)
		r.stop()
		return least
	}
	before := heap()
	inParallel(count, func(i int) {
		name := fmt.Sprint("foreign", i)
		own := map[string]string{"app": name}
		_, err := plane.Kube.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, Labels: own, Annotations: map[string]string{"example.com/note": fmt.Sprintf("%01000d", i)}},
			Spec: appsv1.DeploymentSpec{
				Replicas: ptr.To[int32](0), Paused: true, Selector: &metav1.LabelSelector{MatchLabels: own},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: own},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
				},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	after := heap()
	t.Logf("%d foreign Deployments: %.1f MiB more, %.1f MiB before", count, after-before, before)
	if after-before > most {
		t.Errorf("%d foreign Deployments cost %.1f MiB, want %.1f at most", count, after-before, most)
	}
}
