package controller

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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
	return wait.PollUntilContextCancel(ctx, freshEvery, true, func(ctx context.Context) (bool, error) {
		stale, err := c.stale(ctx)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot tell whether the cache of ElasticWebs is fresh, will ask again")
		}
		return err == nil && stale == "", nil
	})
}

// stale names an ElasticWeb that the cache shows in an older state than the API; empty is none.
func (c *Controller) stale(ctx context.Context) (string, error) {
	now, err := c.config.ElasticWebs.ElasticwebV1().ElasticWebs(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("list ElasticWebs: %w", err)
	}
	listed := make(map[cache.ObjectName]bool, len(now.Items))
	for i := range now.Items {
		web := &now.Items[i]
		key := cache.MetaObjectToName(web)
		listed[key] = true
		cached, err := c.elasticWebs.ElasticWebs(web.Namespace).Get(web.Name)
		if err != nil || !reached(cached.ResourceVersion, web.ResourceVersion) {
			return key.String(), nil
		}
	}
	all, err := c.elasticWebs.List(labels.Everything())
	if err != nil {
		return "", err
	}
	for _, cached := range all {
		// Not listed, though it is no newer than the list: it is gone.
		if key := cache.MetaObjectToName(cached); !listed[key] && reached(now.ResourceVersion, cached.ResourceVersion) {
			return key.String(), nil
		}
	}
	return "", nil
}
