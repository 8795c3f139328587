package identity

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
)

// Protect returns the getter with a storage in which every answer passes the guard.
func (g *Guard) Protect(getter generic.RESTOptionsGetter) generic.RESTOptionsGetter {
	return &protectedGetter{getter, g}
}

type protectedGetter struct {
	generic.RESTOptionsGetter
	guard *Guard
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (p *protectedGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := p.RESTOptionsGetter.GetRESTOptions(resource, example)
	if err != nil {
		return options, err
	}
	decorate := options.Decorator
	options.Decorator = func(config *storagebackend.ConfigForResource, resourcePrefix string, keyFunc func(runtime.Object) (string, error),
		newFunc, newListFunc func() runtime.Object, getAttrs storage.AttrFunc, trigger storage.IndexerFuncs, indexers *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		inner, destroy, err := decorate(config, resourcePrefix, keyFunc, newFunc, newListFunc, getAttrs, trigger, indexers)
		return &guarded{Interface: inner, guard: p.guard}, destroy, err
	}
	return options, nil
}

// guarded is a storage that answers only while it is verified. The look after the answer is for a storage that was exchanged
// while it was being read: it costs nothing unless there was a new connection.
type guarded struct {
	storage.Interface
	guard *Guard
}

// settle turns an answer that must not be given into the reason.
func (s *guarded) settle(ctx context.Context, err error) error {
	if storage.IsNotFound(err) {
		if refused := s.guard.Confirm(ctx); refused != nil {
			return refused
		}
	}
	if refused := s.guard.Verify(ctx); refused != nil {
		return refused
	}
	if errors.Is(err, rpctypes.ErrNoSpace) {
		// The library would call it an internal error.
		return apierrors.NewServiceUnavailable("the storage is full (etcd's quota is exceeded): it is read, and objects can be deleted, but nothing can be written until there is room")
	}
	return err
}

// Get implements storage.Interface.
func (s *guarded) Get(ctx context.Context, key string, options storage.GetOptions, out runtime.Object) error {
	if err := s.guard.Verify(ctx); err != nil {
		return err
	}
	return s.settle(ctx, s.Interface.Get(ctx, key, options, out))
}

// GetList implements storage.Interface.
func (s *guarded) GetList(ctx context.Context, key string, options storage.ListOptions, list runtime.Object) error {
	if err := s.guard.Verify(ctx); err != nil {
		return err
	}
	return s.settle(ctx, s.Interface.GetList(ctx, key, options, list))
}

// Watch implements storage.Interface. A watch ends as soon as there is a doubt: the client of etcd goes on with it over a new
// connection, to whatever storage that leads.
func (s *guarded) Watch(ctx context.Context, key string, options storage.ListOptions) (watch.Interface, error) {
	for {
		if err := s.guard.Verify(ctx); err != nil {
			return nil, err
		}
		inner, err := s.Interface.Watch(ctx, key, options)
		if err != nil {
			return nil, s.settle(ctx, err)
		}
		watched := &guardedWatch{inner, s.guard}
		if s.guard.enroll(watched) {
			return watched, nil
		}
		// A doubt came meanwhile, which the next look settles.
		inner.Stop()
	}
}

// guardedWatch is known to the guard until it is stopped.
type guardedWatch struct {
	watch.Interface
	guard *Guard
}

// Stop implements watch.Interface.
func (w *guardedWatch) Stop() {
	w.guard.mu.Lock()
	delete(w.guard.watches, w)
	w.guard.mu.Unlock()
	w.Interface.Stop()
}

// enroll has the watch ended at the next doubt. If there is one now, it says no.
func (g *Guard) enroll(watch *guardedWatch) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.verified != g.suspicions {
		return false
	}
	g.watches[watch] = struct{}{}
	return true
}

// Create implements storage.Interface.
func (s *guarded) Create(ctx context.Context, key string, object, out runtime.Object, ttl uint64) error {
	if err := s.guard.Verify(ctx); err != nil {
		return err
	}
	return s.settle(ctx, s.Interface.Create(ctx, key, object, out, ttl))
}

// Delete implements storage.Interface.
func (s *guarded) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, options storage.DeleteOptions,
) error {
	if err := s.guard.Verify(ctx); err != nil {
		return err
	}
	return s.settle(ctx, s.Interface.Delete(ctx, key, out, preconditions, validate, cached, options))
}

// GuaranteedUpdate implements storage.Interface.
func (s *guarded) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, update storage.UpdateFunc, cached runtime.Object,
) error {
	if err := s.guard.Verify(ctx); err != nil {
		return err
	}
	return s.settle(ctx, s.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, update, cached))
}
