package elasticweb

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"

	"elasticweb.example.com/apis/elasticweb"
)

// UIDs returns those of all ElasticWebs in the storage, read from the storage itself: a cache may be of another one.
func UIDs(ctx context.Context, getter generic.RESTOptionsGetter) (sets.Set[types.UID], error) {
	options, err := getter.GetRESTOptions(elasticweb.Resource("elasticwebs"), &elasticweb.ElasticWeb{})
	if err != nil {
		return nil, err
	}
	// As the library's store does.
	prefix := "/" + options.ResourcePrefix
	raw, destroy, err := generic.NewRawStorage(options.StorageConfig,
		func() runtime.Object { return &elasticweb.ElasticWeb{} }, func() runtime.Object { return &elasticweb.ElasticWebList{} }, prefix)
	if err != nil {
		return nil, err
	}
	defer destroy()
	list := &elasticweb.ElasticWebList{}
	if err := raw.GetList(ctx, prefix, storage.ListOptions{Predicate: storage.Everything, Recursive: true}, list); err != nil {
		return nil, err
	}
	uids := sets.New[types.UID]()
	for i := range list.Items {
		uids.Insert(list.Items[i].UID)
	}
	return uids, nil
}
