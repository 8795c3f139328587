package controller

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/generated/clientset/versioned/fake"
	"elasticweb.example.com/pkg/generated/informers/externalversions"
)

// newController returns one whose caches hold web and its namespace, and the client that its child writes go to.
func newController(t *testing.T, web *v1.ElasticWeb, phase corev1.NamespacePhase) (*Controller, *kubefake.Clientset) {
	t.Helper()
	kube := kubefake.NewClientset()
	namespaces := informers.NewSharedInformerFactory(kube, 0).Core().V1().Namespaces()
	own := fake.NewClientset(web)
	ownInformers := externalversions.NewSharedInformerFactory(own, 0)
	c, err := New(Config{
		ElasticWebs: own, Informers: ownInformers, Kube: kube,
		Namespaces: namespaces.Lister(), NamespacesSynced: namespaces.Informer().HasSynced,
		MaxReplicas: 1000, ProgressDeadline: 10 * time.Minute, Workers: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.events = record.NewFakeRecorder(10)
	if err := ownInformers.Elasticweb().V1().ElasticWebs().Informer().GetIndexer().Add(web); err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: web.Namespace}, Status: corev1.NamespaceStatus{Phase: phase}}
	if err := namespaces.Informer().GetIndexer().Add(namespace); err != nil {
		t.Fatal(err)
	}
	return c, kube
}

func TestChildrenAreWrittenUnless(t *testing.T) {
	tests := []struct {
		name   string
		change func(*v1.ElasticWeb)
		phase  corev1.NamespacePhase
		want   int
	}{
		{name: "nothing is in the way", change: func(*v1.ElasticWeb) {}, phase: corev1.NamespaceActive, want: 2},
		{name: "the ElasticWeb is being deleted", change: func(w *v1.ElasticWeb) {
			w.DeletionTimestamp, w.Finalizers = ptr.To(metav1.Now()), []string{"foregroundDeletion"}
		}, phase: corev1.NamespaceActive},
		{name: "the namespace is being deleted", change: func(*v1.ElasticWeb) {}, phase: corev1.NamespaceTerminating},
		// The API stores none of these; an edited backup may hold one.
		{name: "singlePodsQPS is missing", change: func(w *v1.ElasticWeb) { w.Spec.SinglePodsQPS = nil }, phase: corev1.NamespaceActive},
		{name: "singlePodsQPS is 0", change: func(w *v1.ElasticWeb) { w.Spec.SinglePodsQPS = ptr.To[int32](0) }, phase: corev1.NamespaceActive},
		{name: "totalQPS is missing", change: func(w *v1.ElasticWeb) { w.Spec.TotalQPS = nil }, phase: corev1.NamespaceActive},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			web := sample()
			tt.change(web)
			c, kube := newController(t, web, tt.phase)
			// The fake cluster does not know an apply that is create-only, and refuses it; that it was asked is what counts.
			_, _ = c.reconcile(t.Context(), cache.MetaObjectToName(web))
			writes := 0
			for _, action := range kube.Actions() {
				if action.GetVerb() == "patch" {
					writes++
				}
			}
			if writes != tt.want {
				t.Errorf("%d child writes, want %d", writes, tt.want)
			}
		})
	}
}

// An object that brings a panic about is one that is tried again, and not the end of the server.
func TestAPanicIsAnError(t *testing.T) {
	web := sample()
	c, _ := newController(t, web, corev1.NamespaceActive)
	c.statuses = nil
	if _, err := c.pass(t.Context(), cache.MetaObjectToName(web)); err == nil || !strings.Contains(err.Error(), "panic: ") {
		t.Errorf("error = %v, want the panic", err)
	}
}
