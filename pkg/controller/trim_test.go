package controller

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

func TestTrim(t *testing.T) {
	full := func(labels map[string]string) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{
				Name: "web", Namespace: "dev", UID: "u", ResourceVersion: "1", Labels: labels,
				OwnerReferences: []metav1.OwnerReference{{Name: "a"}, {Name: "b", Controller: ptr.To(true)}},
				ManagedFields: []metav1.ManagedFieldsEntry{
					{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationApply},
					{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationApply},
					{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "status"},
				},
			},
			Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3)},
		}
	}
	foreign := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "dev", UID: "u", ResourceVersion: "1",
		OwnerReferences: []metav1.OwnerReference{{Name: "b", Controller: ptr.To(true)}},
	}}
	ours := full(map[string]string{v1.NameLabel: "web"})
	ours.ManagedFields = ours.ManagedFields[:1:1]

	// disowned is controlled by an ElasticWeb, and has no label.
	disowned := func(object *appsv1.Deployment) *appsv1.Deployment {
		object = object.DeepCopy()
		object.Labels = nil
		object.OwnerReferences[1].APIVersion, object.OwnerReferences[1].Kind = "elasticweb.example.com/v1", "ElasticWeb"
		return object
	}

	for name, tt := range map[string]struct{ object, want *appsv1.Deployment }{
		"of a foreign one, who it is and whose":       {full(nil), foreign},
		"of ours that has lost its label, the same":   {disowned(full(nil)), disowned(ours)},
		"of ours, all but the others' managed fields": {full(map[string]string{v1.NameLabel: "web"}), ours},
	} {
		got, err := trim(tt.object)
		if err != nil || !apiequality.Semantic.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v (%v), want %+v", name, got, err, tt.want)
		}
		// Informers may trim an object that has been trimmed.
		again, _ := trim(got)
		if !apiequality.Semantic.DeepEqual(again, tt.want) {
			t.Errorf("%s: trimmed twice it became %+v", name, again)
		}
	}
}
