package fault

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"elasticweb.example.com/test/cluster"
)

// workloads are all children of a namespace and their Pods, by UID: "Deployment web1" and so on.
func workloads(t testing.TB, ns string) map[string]string {
	t.Helper()
	found := map[string]string{}
	add := func(kind string, object metav1.Object) { found[kind+" "+object.GetName()] = string(object.GetUID()) }
	deployments, err := plane.Kube.AppsV1().Deployments(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range deployments.Items {
		add("Deployment", &deployments.Items[i])
	}
	services, err := plane.Kube.CoreV1().Services(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range services.Items {
		add("Service", &services.Items[i])
	}
	pods, err := plane.Kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		add("Pod", &pods.Items[i])
	}
	return found
}

// unharmed fails if one of them is not there any more as it was.
func unharmed(t testing.TB, ns string, before map[string]string, when string) {
	t.Helper()
	now := workloads(t, ns)
	for name, uid := range before {
		if now[name] != uid {
			t.Fatalf("%s: %s was %s and is %q", when, name, uid, now[name])
		}
	}
}

// provokeCollector gives the garbage collector a reason to look for the owners of all children: a new one forgets what it knows.
func provokeCollector(t testing.TB) {
	t.Helper()
	plane.Halt(t, "kube-controller-manager")
	plane.Resume(t, "kube-controller-manager")
}

// A storage that is not the one of before is not served from, and the cluster keeps every workload; once it is accepted they live
// on without an owner, and are adopted, without a new Pod, when their ElasticWeb is applied again. (Complaint 14.)
func TestAWipedExchangedOrRolledBackStorageHarmsNoWorkload(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(t testing.TB, e *etcd, snapshot string)
		// want is in the reason.
		want string
		// survives: w1 is in the storage that is accepted, w2 is not.
		survives bool
	}{
		{"wiped", func(t testing.TB, e *etcd, _ string) { e.dir = filepath.Join(t.TempDir(), "empty") }, "it is empty, was wiped", false},
		{"rolled back", func(t testing.TB, e *etcd, snapshot string) { e.restore(t, snapshot, "--bump-revision=0") }, "the storage is older", true},
		{"restored with --bump-revision", func(t testing.TB, e *etcd, snapshot string) { e.restore(t, snapshot) }, "the storage is older", true},
		{"exchanged", func(t testing.TB, e *etcd, _ string) { e.dir = filepath.Join(t.TempDir(), "other") }, "the storage is another one", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			installAfresh(t)
			ns := plane.Namespace(t)
			e := newEtcd(t)
			flags := append(lease(), "--etcd-servers="+e.address)
			r := serve(t, "before", flags...)
			w1 := create(t, r.web, web(ns, "w1"))
			ready(t, r.web, w1, 1)
			// The next one makes the number rise ten seconds later; or the stop does.
			r.stop()
			stopped := identityOf(t)
			snapshot := e.save(t)
			r = serve(t, "running", flags...)
			w2 := create(t, r.web, web(ns, "w2"))
			ready(t, r.web, w2, 1)
			cluster.Eventually(t, "the number to rise", func(context.Context) (bool, string) { return identityOf(t) != stopped, stopped })
			before := workloads(t, ns)
			deletions := deletionsTold(t, ns)

			e.kill()
			test.harm(t, e, snapshot)
			if test.name == "exchanged" {
				e.start(t)
				if _, err := e.client(t).Put(t.Context(), "/registry/elasticweb.example.com/storage-identity", "other/99"); err != nil {
					t.Fatal(err)
				}
			} else {
				e.start(t)
			}
			provokeCollector(t)
			awaitRefusal(t, r, ns, test.want)
			for range 30 {
				for _, name := range []string{"w1", "w2", "never"} {
					_, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), name, metav1.GetOptions{})
					if !apierrors.IsServiceUnavailable(err) {
						t.Fatalf("get %s: %v, want 503", name, err)
					}
				}
				if list, err := r.web.ElasticwebV1().ElasticWebs(ns).List(t.Context(), metav1.ListOptions{}); err == nil {
					t.Fatalf("list: %d objects, want 503", len(list.Items))
				}
				time.Sleep(100 * time.Millisecond)
			}
			unharmed(t, ns, before, "while the storage is refused")
			if r.metric(t, "elasticweb_storage_identity_locked ") != 1 {
				t.Error("the metric does not say that the storage is refused")
			}
			if n := deletions.Load(); n != 0 {
				t.Errorf("%d deletions were told to those who watch", n)
			}

			// A new process finds the same.
			r.stop()
			r = launch(t, "locked", servicePort(t), flags...)
			refused := awaitRefusal(t, r, ns, test.want)
			accept(t, refused)
			// Its caches may be of the storage before; whoever runs it starts it again.
			<-r.exited
			r = start(t, "accepted", servicePort(t), flags...)
			aggregated(t)
			_, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), "w1", metav1.GetOptions{})
			if test.survives != (err == nil) {
				t.Fatalf("w1 after the acceptance: %v", err)
			}
			unharmed(t, ns, before, "after the acceptance")
			for _, name := range []string{"w1", "w2"} {
				deployment, service, err := children(t.Context(), ns, name)
				if err != nil {
					t.Fatal(err)
				}
				// What has no owner is not collected.
				want := 0
				if name == "w1" && test.survives {
					want = 1
				}
				if len(deployment.OwnerReferences) != want || len(service.OwnerReferences) != want {
					t.Errorf("%s after the acceptance: its Deployment belongs to %v, its Service to %v", name, deployment.OwnerReferences, service.OwnerReferences)
				}
			}
			if long {
				provokeCollector(t)
				time.Sleep(3 * time.Second)
			}

			for _, name := range []string{"w1", "w2"} {
				if _, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
					create(t, r.web, web(ns, name))
				}
			}
			allReady(t, r.web, ns, 2)
			unharmed(t, ns, before, "after the ElasticWebs were applied again")
			for _, name := range []string{"w1", "w2"} {
				owner, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), name, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				deployment, service, err := children(t.Context(), ns, name)
				if err != nil || !metav1.IsControlledBy(deployment, owner) || !metav1.IsControlledBy(service, owner) {
					t.Errorf("%s has not adopted its children: %v", name, err)
				}
			}
		})
	}
}

// deletionsTold counts what those who watch are told has gone.
func deletionsTold(t testing.TB, ns string) *atomic.Int32 {
	t.Helper()
	watch, err := plane.Web.ElasticwebV1().ElasticWebs(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	told := &atomic.Int32{}
	go func() {
		for event := range watch.ResultChan() {
			if event.Type == apiwatch.Deleted {
				told.Add(1)
			}
		}
	}()
	return told
}

func identityOf(t testing.TB) string {
	t.Helper()
	configMap, err := plane.Kube.CoreV1().ConfigMaps("elasticweb-system").Get(t.Context(), storageConfigMap, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return configMap.Data["identity"]
}

// awaitRefusal returns what /readyz says, when it is what it must be, and so are /livez and the Event.
func awaitRefusal(t testing.TB, r *replica, ns, want string) (reason string) {
	t.Helper()
	cluster.Eventually(t, "the storage to be refused", func(ctx context.Context) (bool, string) {
		_, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(ctx, "never", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			t.Fatalf("404 from a storage that is not the right one: %v", err)
		}
		if err != nil {
			reason = err.Error()
		}
		return apierrors.IsServiceUnavailable(err) && strings.Contains(reason, want), fmt.Sprint(err)
	})
	if code, text, err := r.get(t.Context(), "/readyz"); err != nil || code == http.StatusOK || !strings.Contains(text, "[-]storage-identity failed") {
		t.Errorf("/readyz: %d %v\n%s", code, err, text)
	}
	if code, text, err := r.get(t.Context(), "/livez"); err != nil || code != http.StatusOK {
		t.Errorf("/livez: %d %v\n%s", code, err, text)
	}
	cluster.Eventually(t, "the Event", func(ctx context.Context) (bool, string) {
		events, err := plane.Kube.CoreV1().Events("elasticweb-system").List(ctx, metav1.ListOptions{
			FieldSelector: fields.Set{"involvedObject.name": storageConfigMap, "reason": "StorageRefused", "type": corev1.EventTypeWarning}.String(),
		})
		if err != nil {
			return false, err.Error()
		}
		for _, event := range events.Items {
			if strings.Contains(event.Message, want) {
				return true, ""
			}
		}
		return false, fmt.Sprint(len(events.Items), " others")
	})
	return reason
}

// accept runs the command that the reason names.
func accept(t testing.TB, reason string) {
	t.Helper()
	_, command, found := strings.Cut(reason, "kubectl ")
	if !found {
		t.Fatalf("no command in: %s", reason)
	}
	kubectl := exec.Command(cluster.KubectlBinary(), strings.Fields(command)...)
	kubectl.Env = plane.KubectlEnv()
	if output, err := kubectl.CombinedOutput(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", command, err, output)
	}
}
