package elasticweb

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"elasticweb.example.com/apis/elasticweb"
)

// Config is what the API of an ElasticWeb depends on besides the object.
type Config struct {
	// Scheme knows the hub and the wire types.
	Scheme *runtime.Scheme
	// RESTOptionsGetter says where and how objects are stored.
	RESTOptionsGetter generic.RESTOptionsGetter
	// NodePorts is the range that spec.port must lie in.
	NodePorts utilnet.PortRange
}

// NewStorage returns what serves the resource and its subresources, by path.
func NewStorage(config Config) (map[string]rest.Storage, error) {
	main := strategy{
		DeclarativeValidation: rest.DeclarativeValidation{Scheme: config.Scheme},
		NameGenerator:         names.SimpleNameGenerator,
		nodePorts:             config.NodePorts,
	}
	options, err := config.RESTOptionsGetter.GetRESTOptions(elasticweb.Resource("elasticwebs"), &elasticweb.ElasticWeb{})
	if err != nil {
		return nil, fmt.Errorf("find out how elasticwebs are stored: %w", err)
	}
	limit := sizeLimit{encoder: options.StorageConfig.Codec, max: maxStoredSize}
	statusLimit := sizeLimit{encoder: options.StorageConfig.Codec, max: maxStoredSizeWithStatus}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &elasticweb.ElasticWeb{} },
		NewListFunc:               func() runtime.Object { return &elasticweb.ElasticWebList{} },
		DefaultQualifiedResource:  elasticweb.Resource("elasticwebs"),
		SingularQualifiedResource: elasticweb.Resource("elasticweb"),
		PredicateFunc:             predicate,

		CreateStrategy:      main,
		UpdateStrategy:      main,
		DeleteStrategy:      main,
		ResetFieldsStrategy: main,

		TableConvertor: tableConvertor{},
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: config.RESTOptionsGetter, AttrFunc: getAttrs}); err != nil {
		return nil, fmt.Errorf("set up the storage of elasticwebs: %w", err)
	}

	statusStore := *store
	statusStore.UpdateStrategy = statusStrategy{main}
	statusStore.ResetFieldsStrategy = statusStrategy{main}

	return map[string]rest.Storage{
		"elasticwebs":        &mainREST{store, limit},
		"elasticwebs/status": &statusREST{&statusStore, statusLimit},
		"elasticwebs/scale":  &scaleREST{store, limit},
	}, nil
}

// mainREST serves elasticwebs.
type mainREST struct {
	*genericregistry.Store
	limit sizeLimit
}

var (
	_ rest.StandardStorage    = &mainREST{}
	_ rest.ShortNamesProvider = &mainREST{}
	_ rest.CategoriesProvider = &mainREST{}
)

// ShortNames lists what kubectl accepts for elasticwebs.
func (*mainREST) ShortNames() []string { return []string{"ew"} }

// Categories lists the groups of resources that kubectl shows elasticwebs in.
func (*mainREST) Categories() []string { return []string{"all"} }

// Get returns an ElasticWeb.
func (r *mainREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	if err := checkResourceVersion(options.ResourceVersion); err != nil {
		return nil, err
	}
	return r.Store.Get(ctx, name, options)
}

// Create stores a new ElasticWeb.
func (r *mainREST) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	return r.Store.Create(ctx, obj, r.limit.create(validate), options)
}

// Update changes an ElasticWeb, or, for an apply, creates it.
func (r *mainREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, forceAllowCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.Store.Update(ctx, name, info, r.limit.create(createValidation), r.limit.update(updateValidation), forceAllowCreate, options)
}

// Watch tells of changes to ElasticWebs.
func (r *mainREST) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	if err := checkResourceVersion(options.ResourceVersion); err != nil {
		return nil, err
	}
	return r.Store.Watch(ctx, options)
}

// checkResourceVersion answers what is no resourceVersion with a 400. (The library would answer a 500.)
func checkResourceVersion(version string) error {
	if _, err := (storage.APIObjectVersioner{}).ParseResourceVersion(version); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// statusREST serves elasticwebs/status.
type statusREST struct {
	store *genericregistry.Store
	limit sizeLimit
}

var (
	_ rest.Patcher             = &statusREST{}
	_ rest.ResetFieldsStrategy = &statusREST{}
	_ rest.TableConvertor      = &statusREST{}
)

// New returns an empty ElasticWeb.
func (*statusREST) New() runtime.Object { return &elasticweb.ElasticWeb{} }

// Destroy does nothing: the storage is the main resource's.
func (*statusREST) Destroy() {}

// Get returns the whole object, as PATCH needs it.
func (r *statusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	if err := checkResourceVersion(options.ResourceVersion); err != nil {
		return nil, err
	}
	return r.store.Get(ctx, name, options)
}

// Update changes the status and nothing else; it never creates.
func (r *statusREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, createValidation, r.limit.update(updateValidation), false, options)
}

// GetResetFields names what a write of the status cannot change.
func (r *statusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

// ConvertToTable prints the object as the main resource does.
func (r *statusREST) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, object, options)
}
