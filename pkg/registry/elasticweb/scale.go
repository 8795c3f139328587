package elasticweb

import (
	"context"
	"fmt"
	"math"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/apis/elasticweb/validation"
)

// scaleREST serves elasticwebs/scale, the demand counted in Pods: autoscalers and kubectl scale change totalQPS by it. It is
// never the number of Pods that run. (A rollout's surge would feed back, and an autoscaler with a wider range than minReplicas
// and maxReplicas would write it again and again.)
type scaleREST struct {
	store *genericregistry.Store
	limit sizeLimit
}

var (
	_ rest.Patcher                  = &scaleREST{}
	_ rest.GroupVersionKindProvider = &scaleREST{}
	_ rest.TableConvertor           = &scaleREST{}
)

// replicasPaths says which field of each version of the main resource stands for spec.replicas of its scale: managers of the
// one are managers of the other.
var replicasPaths = managedfields.ResourcePathMappings{
	v1.SchemeGroupVersion.String(): fieldpath.MakePathOrDie("spec", "totalQPS"),
}

// GroupVersionKind is that of every scale subresource.
func (*scaleREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// New returns an empty Scale.
func (*scaleREST) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy does nothing: the storage is the main resource's.
func (*scaleREST) Destroy() {}

// Get returns the scale of the ElasticWeb.
func (r *scaleREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	if err := checkResourceVersion(options.ResourceVersion); err != nil {
		return nil, err
	}
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return scaleOf(obj.(*elasticweb.ElasticWeb)), nil
}

// Update changes totalQPS and nothing else; it never creates.
func (r *scaleREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, _, err := r.store.Update(ctx, name, scaleUpdate{name: name, info: info},
		// Admission judges what was sent: the Scale.
		func(ctx context.Context, obj runtime.Object) error {
			return createValidation(ctx, scaleOf(obj.(*elasticweb.ElasticWeb)))
		},
		r.limit.update(func(ctx context.Context, obj, old runtime.Object) error {
			return updateValidation(ctx, scaleOf(obj.(*elasticweb.ElasticWeb)), scaleOf(old.(*elasticweb.ElasticWeb)))
		}),
		false, options)
	if err != nil {
		return nil, false, err
	}
	return scaleOf(obj.(*elasticweb.ElasticWeb)), false, nil
}

// ConvertToTable prints the scale as the main resource prints an object that is not its own: by name and age.
func (r *scaleREST) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(elasticweb.Resource("elasticwebs/scale")).ConvertToTable(ctx, object, options)
}

func scaleOf(web *elasticweb.ElasticWeb) *autoscalingv1.Scale {
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name:              web.Name,
			Namespace:         web.Namespace,
			UID:               web.UID,
			ResourceVersion:   web.ResourceVersion,
			CreationTimestamp: web.CreationTimestamp,
		},
		Status: autoscalingv1.ScaleStatus{
			Replicas: web.Status.Replicas,
			Selector: v1.SelectorFor(web.Name),
		},
	}
	// The API stores none that is not valid; an edited backup may hold one. 0 switches an autoscaler off.
	if perPod := validation.PerPod(&web.Spec); perPod.Valid() && web.Spec.TotalQPS != nil {
		scale.Spec.Replicas = perPod.Demand(*web.Spec.TotalQPS)
	}
	return scale
}

// scaleUpdate turns the update of a Scale into one of the ElasticWeb: ElasticWeb → its Scale → the new Scale → the new
// ElasticWeb.
type scaleUpdate struct {
	name string
	info rest.UpdatedObjectInfo
}

func (u scaleUpdate) Preconditions() *metav1.Preconditions { return u.info.Preconditions() }

func (u scaleUpdate) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	web := old.DeepCopyObject().(*elasticweb.ElasticWeb)
	managers := managedfields.NewScaleHandler(web.ManagedFields, v1.SchemeGroupVersion, replicasPaths)
	oldScale := scaleOf(web)
	var err error
	if oldScale.ManagedFields, err = managers.ToSubresource(); err != nil {
		return nil, fmt.Errorf("managed fields of the scale: %w", err)
	}

	updated, err := u.info.UpdatedObject(ctx, oldScale)
	if err != nil {
		return nil, err
	}
	scale, ok := updated.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Scale: %T", updated))
	}
	if scale.UID != "" && scale.UID != web.UID {
		return nil, apierrors.NewConflict(elasticweb.Resource("elasticwebs/scale"), u.name,
			fmt.Errorf("the UID in the request is %s, that of the object %s", scale.UID, web.UID))
	}
	if errs := setScale(web, scale, oldScale); len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), u.name, errs)
	}
	web.ResourceVersion = scale.ResourceVersion
	if apiequality.Semantic.DeepEqual(scale.ManagedFields, oldScale.ManagedFields) {
		// The handler would write the entries anew, in another form, and a write that changes nothing would be one.
		return web, nil
	}
	if web.ManagedFields, err = managers.ToParent(scale.ManagedFields); err != nil {
		return nil, fmt.Errorf("managed fields of the scale: %w", err)
	}
	return web, nil
}

// setScale makes the demand of web what scale says. A scale that is what it was changes nothing: many loads need the same
// number of Pods, and the one that the user gave stays.
func setScale(web *elasticweb.ElasticWeb, scale, old *autoscalingv1.Scale) field.ErrorList {
	errs := metav1validation.ValidateManagedFields(scale.ManagedFields, field.NewPath("metadata", "managedFields"))
	replicas, path := scale.Spec.Replicas, field.NewPath("spec", "replicas")
	if replicas < 0 {
		return append(errs, field.Invalid(path, replicas, "must be 0 or more"))
	}
	if replicas == old.Spec.Replicas {
		return errs
	}
	perPod := validation.PerPod(&web.Spec)
	if !perPod.Valid() {
		return append(errs, field.Forbidden(path, "the stored ElasticWeb says nothing valid of what a Pod can take: mend its spec first"))
	}
	totalQPS, ok := perPod.TotalQPS(replicas)
	if !ok {
		return append(errs, field.Invalid(path, replicas, fmt.Sprintf(
			"must be at most %d: with singlePodsQPS %d and targetUtilizationPercentage %d, more Pods carry more than the %d queries per second that totalQPS can say",
			perPod.MaxReplicas(), perPod.SingleQPS, perPod.UtilizationPercentage, math.MaxInt32)))
	}
	web.Spec.TotalQPS = &totalQPS
	return errs
}
