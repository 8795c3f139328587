package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/generated/clientset/versioned"
	"elasticweb.example.com/test/cluster"
)

// plane is a Kubernetes in which our server is registered, but does not run.
var plane *cluster.Cluster

// long: the long forms run (make test-long).
var long = os.Getenv("LONG") != ""

func TestMain(m *testing.M) {
	os.Exit(cluster.Run(m, func(c *cluster.Cluster) { plane = c }, "--without-server"))
}

// either is short, or in the long forms long.
func either[T any](short, inLong T) T {
	if long {
		return inLong
	}
	return short
}

// web is one of a single Pod.
func web(namespace, name string) *v1.ElasticWeb {
	return &v1.ElasticWeb{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       v1.ElasticWebSpec{Image: "nginx:1.17.1", SinglePodsQPS: ptr.To[int32](100), TotalQPS: ptr.To[int32](100)},
	}
}

func create(t testing.TB, client versioned.Interface, web *v1.ElasticWeb) *v1.ElasticWeb {
	t.Helper()
	created, err := client.ElasticwebV1().ElasticWebs(web.Namespace).Create(t.Context(), web, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// demand sets totalQPS through the server that the client leads to.
func demand(t testing.TB, client versioned.Interface, web *v1.ElasticWeb, total int32) {
	t.Helper()
	if err := tryDemand(t.Context(), client, web, total); err != nil {
		t.Fatal(err)
	}
}

func tryDemand(ctx context.Context, client versioned.Interface, web *v1.ElasticWeb, total int32) error {
	_, err := client.ElasticwebV1().ElasticWebs(web.Namespace).Patch(ctx, web.Name, "application/merge-patch+json",
		fmt.Appendf(nil, `{"spec":{"totalQPS":%d}}`, total), metav1.PatchOptions{})
	return err
}

// ready waits until the ElasticWeb says that it is, with so many Pods.
func ready(t testing.TB, client versioned.Interface, web *v1.ElasticWeb, pods int32) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("%s to be Ready with %d Pods", web.Name, pods), func(ctx context.Context) (bool, string) {
		now, err := client.ElasticwebV1().ElasticWebs(web.Namespace).Get(ctx, web.Name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		status, _ := json.Marshal(now.Status)
		return isReady(now) && now.Status.ReadyReplicas == pods, string(status)
	})
}

func isReady(web *v1.ElasticWeb) bool {
	return web.Status.ObservedGeneration == web.Generation && apimeta.IsStatusConditionTrue(web.Status.Conditions, v1.ConditionReady)
}

// replicasBecome waits until the Deployment is to have so many replicas, and returns it.
func replicasBecome(t testing.TB, namespace, name string, replicas int32) (deployment *appsv1.Deployment) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("Deployment %s to have %d replicas", name, replicas), func(ctx context.Context) (bool, string) {
		var err error
		if deployment, err = plane.Kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err.Error()
		}
		return *deployment.Spec.Replicas == replicas, fmt.Sprint(*deployment.Spec.Replicas)
	})
	return deployment
}

// allReady waits until every ElasticWeb of the namespace is Ready, and there are so many.
func allReady(t testing.TB, client versioned.Interface, namespace string, count int) {
	t.Helper()
	deadline := time.Now().Add(5 * cluster.Limit)
	for {
		webs, err := client.ElasticwebV1().ElasticWebs(namespace).List(t.Context(), metav1.ListOptions{})
		if err == nil && len(webs.Items) == count && !slices.ContainsFunc(webs.Items, func(web v1.ElasticWeb) bool { return !isReady(&web) }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not all of %d ElasticWebs are Ready: %v", count, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// children are those that the cluster has; nil is none.
func children(ctx context.Context, namespace, name string) (*appsv1.Deployment, *corev1.Service, error) {
	deployment, err := plane.Kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		deployment, err = nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	service, err := plane.Kube.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		service, err = nil, nil
	}
	return deployment, service, err
}
