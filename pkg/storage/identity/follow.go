package identity

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	corev1informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Run follows the copy, and looks at the storage whenever there is a reason to, until ctx ends. It returns ErrExchanged when this
// process can never again answer from its caches.
func (g *Guard) Run(ctx context.Context) error {
	logger := klog.FromContext(ctx).WithName("storage-identity")
	ctx = klog.NewContext(ctx, logger)
	informer := g.newInformer(g.config.Host)
	learn := func(object any) {
		if err := g.learn(object.(*corev1.ConfigMap)); err != nil {
			logger.Error(err, "Cannot read the copy of the storage identity, and keep the last one")
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: learn, UpdateFunc: func(_, object any) { learn(object) }}); err != nil {
		return err
	}
	go informer.RunWithContext(ctx)

	said := ""
	for {
		// Reason to doubt or not: the copy may have risen.
		looked := g.Confirm(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if g.exchanged() {
			return ErrExchanged
		}
		err := g.Verified()
		// Once for each thing that is wrong.
		if err != nil && err.Error() != said {
			logger.Error(err, "Nothing is served")
		} else if err == nil && said != "" {
			logger.Info("The storage is the right one")
		}
		said = ""
		if err != nil {
			said = err.Error()
		}
		var again <-chan time.Time
		if looked != nil {
			again = time.After(recheckPeriod)
		}
		select {
		case <-ctx.Done():
		case <-g.suspected:
		case <-again:
		}
	}
}

func (g *Guard) exchanged() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Is(g.unknown, ErrExchanged)
}

func (g *Guard) newInformer(client kubernetes.Interface) cache.SharedIndexInformer {
	return corev1informers.NewFilteredConfigMapInformer(client, g.config.Namespace, 0, cache.Indexers{}, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, g.config.Name).String()
	})
}
