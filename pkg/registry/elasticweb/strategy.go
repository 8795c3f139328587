package elasticweb

import (
	"context"
	"fmt"
	"strconv"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/apis/elasticweb/validation"
)

// strategy is what happens to an ElasticWeb on its way into the storage through the main resource.
type strategy struct {
	// What the types declare is judged together with what Validate and ValidateUpdate return.
	rest.DeclarativeValidation
	names.NameGenerator
	nodePorts utilnet.PortRange
}

var (
	_ rest.RESTCreateUpdateStrategy        = strategy{}
	_ rest.GarbageCollectionDeleteStrategy = strategy{}
	_ rest.ResetFieldsStrategy             = strategy{}
)

func (strategy) NamespaceScoped() bool                         { return true }
func (strategy) AllowCreateOnUpdate(context.Context) bool      { return false }
func (strategy) AllowUnconditionalUpdate(context.Context) bool { return true }
func (strategy) Canonicalize(runtime.Object)                   {}

// DefaultGarbageCollectionPolicy is that of a Deployment: without a word from the user, the children go in the background.
func (strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return rest.DeleteDependents
}

// GetResetFields names what a write through the main resource cannot change, so that server-side apply gives nobody
// ownership of it.
func (strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(v1.SchemeGroupVersion.String()): fieldpath.NewSet(fieldpath.MakePathOrDie("status")),
	}
}

func (strategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	web := obj.(*elasticweb.ElasticWeb)
	web.Generation = 1
	if web.Spec.TotalQPS == nil && web.Spec.SinglePodsQPS != nil {
		onePod := *web.Spec.SinglePodsQPS
		web.Spec.TotalQPS = &onePod
	}
	// Born with observedGeneration 0 and Ready=Unknown, so that no tool takes it for settled.
	web.Status = elasticweb.ElasticWebStatus{
		Selector: v1.SelectorFor(web.Name),
		Conditions: []metav1.Condition{{
			Type:               v1.ConditionReady,
			Status:             metav1.ConditionUnknown,
			Reason:             "Pending",
			Message:            "waiting for the controller",
			LastTransitionTime: web.CreationTimestamp,
		}},
	}
}

func (s strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return validation.ValidateElasticWeb(obj.(*elasticweb.ElasticWeb), s.nodePorts)
}

func (strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	web, oldWeb := obj.(*elasticweb.ElasticWeb), old.(*elasticweb.ElasticWeb)
	web.Status = oldWeb.Status
	// As a Service keeps its nodePort: a write without totalQPS never undoes a scaler.
	if web.Spec.TotalQPS == nil {
		web.Spec.TotalQPS = oldWeb.Spec.TotalQPS
	}
	if !apiequality.Semantic.DeepEqual(web.Spec, oldWeb.Spec) {
		web.Generation = oldWeb.Generation + 1
	}
}

func (s strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.ValidateElasticWebUpdate(obj.(*elasticweb.ElasticWeb), old.(*elasticweb.ElasticWeb), s.nodePorts)
}

func (strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	return validation.Warnings(obj.(*elasticweb.ElasticWeb))
}

// WarningsOnUpdate warns of a changed spec only, as for a Deployment.
func (strategy) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	web, oldWeb := obj.(*elasticweb.ElasticWeb), old.(*elasticweb.ElasticWeb)
	if web.Generation == oldWeb.Generation {
		return nil
	}
	return validation.Warnings(web)
}

// statusStrategy is what happens to an ElasticWeb on its way into the storage through the status subresource.
type statusStrategy struct {
	strategy
}

var _ rest.ResetFieldsStrategy = statusStrategy{}

// GetResetFields names what a write of the status cannot change: spec, all metadata that ResetObjectMetaForStatus keeps, and
// what is computed.
func (statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(v1.SchemeGroupVersion.String()): fieldpath.NewSet(
			fieldpath.MakePathOrDie("spec"),
			fieldpath.MakePathOrDie("metadata", "labels"),
			fieldpath.MakePathOrDie("metadata", "annotations"),
			fieldpath.MakePathOrDie("metadata", "finalizers"),
			fieldpath.MakePathOrDie("metadata", "ownerReferences"),
			fieldpath.MakePathOrDie("status", "selector"),
		),
	}
}

func (statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	web, oldWeb := obj.(*elasticweb.ElasticWeb), old.(*elasticweb.ElasticWeb)
	metav1.ResetObjectMetaForStatus(web, oldWeb)
	web.Spec = oldWeb.Spec
	web.Status.Selector = v1.SelectorFor(web.Name)
}

func (statusStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (statusStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.ValidateElasticWebStatusUpdate(obj.(*elasticweb.ElasticWeb), old.(*elasticweb.ElasticWeb))
}

// getAttrs returns what label and field selectors are matched against. It runs for every object of every watch and list.
func getAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	web, ok := obj.(*elasticweb.ElasticWeb)
	if !ok {
		return nil, nil, fmt.Errorf("not an ElasticWeb: %T", obj)
	}
	// Four fields, sized at once.
	set := make(fields.Set, 4)
	set["spec.image"] = web.Spec.Image
	set["spec.port"] = ""
	if web.Spec.Port != nil {
		set["spec.port"] = strconv.Itoa(int(*web.Spec.Port))
	}
	return web.Labels, generic.AddObjectMetaFieldsSet(set, &web.ObjectMeta, true), nil
}

func predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: getAttrs}
}
