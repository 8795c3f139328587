package controller

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// trim keeps the caches small. The informers have to see every Deployment and Service (a label filter would hide the foreign
// ones, and a forced apply takes over what it does not see), but of a foreign one only who it is and whose it is matters,
// and of the managed fields of ours only our own entry.
func trim(obj any) (any, error) {
	switch object := obj.(type) {
	case *appsv1.Deployment:
		if foreign(object) {
			return &appsv1.Deployment{ObjectMeta: identity(object)}, nil
		}
		object.ManagedFields = ownEntries(object.ManagedFields)
	case *corev1.Service:
		if foreign(object) {
			return &corev1.Service{ObjectMeta: identity(object)}, nil
		}
		object.ManagedFields = ownEntries(object.ManagedFields)
	}
	return obj, nil
}

// foreign: neither with our label nor controlled by one of our kind. (Somebody may have taken the label away.)
func foreign(object metav1.Object) bool {
	_, labelled := object.GetLabels()[v1.NameLabel]
	owner := metav1.GetControllerOfNoCopy(object)
	return !labelled && !(owner != nil && ofOurKind(owner))
}

func identity(object metav1.Object) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{
		Namespace:       object.GetNamespace(),
		Name:            object.GetName(),
		UID:             object.GetUID(),
		ResourceVersion: object.GetResourceVersion(),
	}
	if owner := metav1.GetControllerOf(object); owner != nil {
		meta.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return meta
}

func ownEntries(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	return slices.DeleteFunc(entries, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager != FieldManager || entry.Operation != metav1.ManagedFieldsOperationApply
	})
}
