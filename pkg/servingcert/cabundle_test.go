package servingcert

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
)

const registration = "v1.elasticweb.example.com"

func apiService(service, caBundle string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": registration, "resourceVersion": "1"},
		"spec": map[string]any{
			"service":  map[string]any{"name": service, "namespace": "elasticweb-system"},
			"caBundle": caBundle,
		},
	}}
}

func publish(t *testing.T, objects ...runtime.Object) *fake.FakeDynamicClient {
	t.Helper()
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{apiServices: "APIServiceList"}, objects...)
	client.PrependReactor("patch", "apiservices", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return apply(client.Tracker(), action.(clienttesting.PatchAction))
	})
	ctx, cancel := context.WithCancel(t.Context())
	certificate := New("elasticweb-system", "serving-cert")
	certificate.content.Store(&content{bundle: []byte("authority")})
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewPublisher(client, registration, "elasticweb-apiserver", "elasticweb-system", certificate).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return client
}

// apply is what the cluster does with a forced apply of an APIService; the fake client can apply only types that it knows.
func apply(tracker clienttesting.ObjectTracker, action clienttesting.PatchAction) (bool, runtime.Object, error) {
	var patch map[string]any
	if err := json.Unmarshal(action.GetPatch(), &patch); err != nil {
		return true, nil, err
	}
	object, err := tracker.Get(apiServices, "", action.GetName())
	if err != nil {
		return true, nil, err
	}
	updated := object.DeepCopyObject().(*unstructured.Unstructured)
	maps.Copy(updated.Object["spec"].(map[string]any), patch["spec"].(map[string]any))
	return true, updated, tracker.Update(apiServices, updated, "")
}

func patches(client *fake.FakeDynamicClient) (n int) {
	for _, action := range client.Actions() {
		if action.GetVerb() == "patch" {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return condition(), nil
	})
	if err != nil {
		t.Errorf("never: %s", what)
	}
}

func bundle(t *testing.T, client *fake.FakeDynamicClient) string {
	t.Helper()
	object, err := client.Resource(apiServices).Get(t.Context(), registration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	value, _, _ := unstructured.NestedString(object.Object, "spec", "caBundle")
	return value
}

func TestTheAuthorityIsPublishedAndHealed(t *testing.T) {
	client := publish(t, apiService("elasticweb-apiserver", ""))
	want := base64.StdEncoding.EncodeToString([]byte("authority"))
	eventually(t, "the authority is in the APIService", func() bool { return bundle(t, client) == want })

	damaged := apiService("elasticweb-apiserver", "damaged")
	if _, err := client.Resource(apiServices).Update(t.Context(), damaged, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the authority is healed", func() bool { return bundle(t, client) == want })
}

func TestAnAPIServiceOfAnotherServerIsLeftAlone(t *testing.T) {
	client := publish(t, apiService("another", ""))
	// An event that is certainly handled later than the first: the registration changes hands, and is then published.
	eventually(t, "the informer has listed", func() bool { return len(client.Actions()) >= 2 })
	if n := patches(client); n != 0 {
		t.Errorf("%d writes to an APIService that leads elsewhere", n)
	}
	if _, err := client.Resource(apiServices).Update(t.Context(), apiService("elasticweb-apiserver", ""), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the authority is published once the APIService is ours", func() bool { return bundle(t, client) != "" })
	if n := patches(client); n != 1 {
		t.Errorf("%d writes, want only the one after it became ours", n)
	}
}

// Who takes us out of the cluster is not worked against. (Complaint 8.)
func TestAnAPIServiceThatIsGoneIsNotMadeAgain(t *testing.T) {
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{apiServices: "APIServiceList"})
	certificate := New("elasticweb-system", "serving-cert")
	certificate.content.Store(&content{bundle: []byte("authority")})
	publisher := NewPublisher(client, registration, "elasticweb-apiserver", "elasticweb-system", certificate)
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	if err := publisher.sync(t.Context(), store); err != nil || patches(client) != 0 {
		t.Errorf("%v, %d writes", err, patches(client))
	}
	// The cache may not know it yet: the cluster creates nothing that is to have a version.
	if err := store.Add(apiService("elasticweb-apiserver", "")); err != nil {
		t.Fatal(err)
	}
	_ = publisher.sync(t.Context(), store)
	patch, ok := client.Actions()[0].(clienttesting.PatchAction)
	if !ok || !strings.Contains(string(patch.GetPatch()), `"resourceVersion":"1"`) {
		t.Errorf("the write has no version: %v", client.Actions())
	}
}
