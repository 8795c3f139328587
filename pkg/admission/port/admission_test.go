package port

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/ptr"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/generated/clientset/versioned/fake"
	"elasticweb.example.com/pkg/generated/informers/externalversions"
)

func web(name string, port *int32) *elasticweb.ElasticWeb {
	return &elasticweb.ElasticWeb{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: name}, Spec: elasticweb.ElasticWebSpec{Port: port}}
}

func TestValidate(t *testing.T) {
	plugin := New()
	if plugin.ValidateInitialization() == nil {
		t.Error("a plugin without an informer counts as initialized")
	}
	informer := externalversions.NewSharedInformerFactory(fake.NewClientset(), 0).Elasticweb().V1().ElasticWebs()
	if err := plugin.SetElasticWebInformer(informer); err != nil {
		t.Fatal(err)
	}
	holder := &v1.ElasticWeb{ObjectMeta: metav1.ObjectMeta{Namespace: "secret", Name: "holder"}, Spec: v1.ElasticWebSpec{Port: ptr.To[int32](30003)}}
	leaving := &v1.ElasticWeb{ObjectMeta: metav1.ObjectMeta{Namespace: "secret", Name: "leaving", DeletionTimestamp: ptr.To(metav1.Now())}, Spec: v1.ElasticWebSpec{Port: ptr.To[int32](30004)}}
	allocated := &v1.ElasticWeb{ObjectMeta: metav1.ObjectMeta{Namespace: "secret", Name: "allocated"}, Status: v1.ElasticWebStatus{NodePort: 30006}}
	for _, stored := range []*v1.ElasticWeb{holder, leaving, allocated} {
		if err := informer.Informer().GetIndexer().Add(stored); err != nil {
			t.Fatal(err)
		}
	}

	taken, free := ptr.To[int32](30003), ptr.To[int32](30005)
	itself := web("holder", taken)
	itself.Namespace = "secret"
	neighbour := web("neighbour", taken)
	neighbour.Namespace = "secret"
	tests := []struct {
		name        string
		web, old    *elasticweb.ElasticWeb
		resource    string
		subresource string
		wantRefused bool
	}{
		{name: "a new one takes it", web: web("web", taken), wantRefused: true},
		{name: "of the same name in another namespace", web: web("holder", taken), wantRefused: true},
		{name: "of another name in the same namespace", web: neighbour, wantRefused: true},
		{name: "one changes to it", web: web("web", taken), old: web("web", free), wantRefused: true},
		{name: "one sets it", web: web("web", taken), old: web("web", nil), wantRefused: true},
		{name: "one has it already", web: web("web", taken), old: web("web", taken)},
		{name: "the holder itself", web: itself},
		{name: "a free port", web: web("web", free)},
		{name: "the port of one that is being deleted", web: web("web", ptr.To[int32](30004))},
		{name: "a port that another one was given", web: web("web", ptr.To[int32](30006)), wantRefused: true},
		{name: "no port", web: web("web", nil)},
		{name: "the status of one", web: web("web", taken), old: web("web", nil), subresource: "status"},
		{name: "another kind", web: web("web", taken), resource: "others"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resource, operation := "elasticwebs", admission.Create
			if tt.resource != "" {
				resource = tt.resource
			}
			var old runtime.Object
			if tt.old != nil {
				old, operation = tt.old, admission.Update
			}
			err := plugin.Validate(t.Context(), admission.NewAttributesRecord(tt.web, old, elasticweb.SchemeGroupVersion.WithKind("ElasticWeb"),
				tt.web.Namespace, tt.web.Name, v1.SchemeGroupVersion.WithResource(resource), tt.subresource, operation, nil, false, nil), nil)
			if refused := apierrors.IsInvalid(err); refused != tt.wantRefused || !refused && err != nil {
				t.Errorf("error = %v, want one: %t", err, tt.wantRefused)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "spec.port: Invalid value: 3000")) {
				t.Errorf("error = %v, want one that names the field, and not the holder", err)
			}
		})
	}
}
