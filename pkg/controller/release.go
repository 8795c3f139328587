package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/pager"
)

// childKinds are the kinds of children that an ElasticWeb has.
var childKinds = []schema.GroupVersionResource{
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Version: "v1", Resource: "services"},
}

// Release takes the owner reference of an ElasticWeb from every child whose owner is not among the living, by UID, and returns
// how many it were. The garbage collector leaves them alone then, and the next ElasticWeb of their name adopts them.
func Release(ctx context.Context, client metadata.Interface, living sets.Set[types.UID]) (released int, err error) {
	for _, kind := range childKinds {
		list := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.Resource(kind).List(ctx, options)
		})
		err := list.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
			child := object.(*metav1.PartialObjectMetadata)
			for {
				done, err := release(ctx, client.Resource(kind).Namespace(child.Namespace), child, living)
				if done {
					released++
				}
				if !apierrors.IsConflict(err) {
					return err
				}
				// Changed since it was listed: look again.
				if child, err = client.Resource(kind).Namespace(child.Namespace).Get(ctx, child.Name, metav1.GetOptions{}); err != nil {
					return err
				}
			}
		})
		if err != nil {
			return released, fmt.Errorf("%s: %w", kind.Resource, err)
		}
	}
	return released, nil
}

func release(ctx context.Context, client metadata.ResourceInterface, child *metav1.PartialObjectMetadata, living sets.Set[types.UID]) (bool, error) {
	owners := slices.DeleteFunc(slices.Clone(child.OwnerReferences), func(owner metav1.OwnerReference) bool {
		return ofOurKind(&owner) && !living.Has(owner.UID)
	})
	if len(owners) == len(child.OwnerReferences) {
		return false, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": child.ResourceVersion, "ownerReferences": owners}})
	if err != nil {
		return false, err
	}
	_, err = client.Patch(ctx, child.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
