package controller

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// freshEvery is the time between two looks at whether the cache is fresh.
const freshEvery = 100 * time.Millisecond

// awaitFresh returns when the cache of ElasticWebs shows no less than the API does now, or when ctx ends. That cache is older
// than the leader's term, and its watch may be behind: a decision of the leader before would be undone by one on an older spec, and
// the resourceVersion of a child, which is read anew, would not show it.
func (c *Controller) awaitFresh(ctx context.Context) error {
	// Only what is stale at first counts: who writes all the time would keep us for ever.
	var pending sets.Set[cache.ObjectName]
	return wait.PollUntilContextCancel(ctx, freshEvery, true, func(ctx context.Context) (bool, error) {
		stale, err := c.stale(ctx)
		switch {
		case err != nil:
			klog.FromContext(ctx).Error(err, "Cannot tell whether the cache of ElasticWebs is fresh, will ask again")
			return false, nil
		case pending == nil:
			pending = stale
		default:
			pending = pending.Intersection(stale)
		}
		return pending.Len() == 0, nil
	})
}

// stale are the ElasticWebs that the cache shows in an older state than the API.
func (c *Controller) stale(ctx context.Context) (sets.Set[cache.ObjectName], error) {
	now, err := c.config.ElasticWebs.ElasticwebV1().ElasticWebs(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list ElasticWebs: %w", err)
	}
	cached, err := c.elasticWebs.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	versions := make(map[cache.ObjectName]string, len(cached))
	for _, web := range cached {
		versions[cache.MetaObjectToName(web)] = web.ResourceVersion
	}
	stale := sets.New[cache.ObjectName]()
	for i := range now.Items {
		key := cache.MetaObjectToName(&now.Items[i])
		if version, found := versions[key]; !found || !reached(version, now.Items[i].ResourceVersion) {
			stale.Insert(key)
		}
		delete(versions, key)
	}
	for key, version := range versions {
		// Not listed, though it is no newer than the list: it is gone.
		if reached(now.ResourceVersion, version) {
			stale.Insert(key)
		}
	}
	return stale, nil
}
