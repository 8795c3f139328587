package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/capacity"
	"elasticweb.example.com/pkg/workload"
)

// backOff, in place of a delay, asks for the next attempt after a delay that grows with each one.
const backOff time.Duration = -1

// reconcile is one pass over one ElasticWeb. It returns when to look again without an event: 0 is never.
func (c *Controller) reconcile(ctx context.Context, key cache.ObjectName) (time.Duration, error) {
	web, err := c.elasticWebs.ElasticWebs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		// The children are the garbage collector's.
		c.deployments.forget(key)
		c.services.forget(key)
		c.statuses.forget(key)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}

	if err := usable(web); err != nil {
		// Nothing but a change of the object helps, and that wakes us.
		klog.FromContext(ctx).Error(err, "The stored object breaks the rules of the API and is left alone")
		return 0, nil
	}
	seen := observation{web: web, now: metav1.NewTime(c.clock.Now())}
	seen.demand = perPod(web).Demand(*web.Spec.TotalQPS)
	seen.limits = capacity.Limits{Min: *web.Spec.MinReplicas, Max: web.Spec.MaxReplicas, Cap: c.config.MaxReplicas}
	seen.desired, seen.limited = seen.limits.Replicas(seen.demand)

	deploymentErr, serviceErr := c.children(ctx, &seen)
	c.announce(ctx, &seen, deploymentErr, serviceErr)
	obstacles, failures := sort(deploymentErr, serviceErr)
	seen.obstacles = obstacles
	status := seen.status()
	wrote, again, err := c.statuses.write(ctx, web, status)
	if wrote {
		c.warn(ctx, web, status)
	}
	if again > 0 {
		// Whatever else this pass leads to: what it kept back of the status is due then.
		c.queue.AddAfter(key, again)
	}
	switch err := errors.Join(failures, err); {
	case err != nil:
		return 0, err
	case len(obstacles) > 0:
		return backOff, nil
	case !seen.asWanted && !seen.leaving && !web.Spec.Paused:
		// An event will come sooner; if one is ever lost, this is not.
		return maxDelay, nil
	default:
		return 0, nil
	}
}

// children brings both children to what is wanted, each by itself: what stops one does not stop the other. It notes in seen
// what the caches show of them.
func (c *Controller) children(ctx context.Context, seen *observation) (deploymentErr, serviceErr error) {
	web := seen.web
	if c.leaving(web) {
		// Foreground and orphan deletion are the garbage collector's: repairing drift would fight it for ever.
		seen.deployment, seen.service = c.deployments.ours(web), c.services.ours(web)
		seen.leaving = true
		return nil, nil
	}
	service := workload.Service(web)
	deployment, invalid := workload.Deployment(web, seen.desired, c.config.ProgressDeadline)
	if web.Spec.Paused {
		var deploymentAsWanted, serviceAsWanted bool
		if invalid == nil {
			seen.deployment, deploymentAsWanted = c.deployments.look(web, deployment)
		} else {
			seen.deployment = c.deployments.ours(web)
		}
		seen.service, serviceAsWanted = c.services.look(web, service)
		seen.asWanted = deploymentAsWanted && serviceAsWanted
		return nil, nil
	}
	if invalid != nil {
		seen.deployment, deploymentErr = c.deployments.ours(web), newObstacle("InvalidTemplate", invalid.Error())
	} else {
		seen.deployment, deploymentErr = c.deployments.ensure(ctx, web, deployment)
	}
	seen.service, serviceErr = c.services.ensure(ctx, web, service)
	seen.asWanted = deploymentErr == nil && serviceErr == nil
	return deploymentErr, serviceErr
}

func perPod(web *v1.ElasticWeb) capacity.PerPod {
	return capacity.PerPod{SingleQPS: *web.Spec.SinglePodsQPS, UtilizationPercentage: *web.Spec.TargetUtilizationPercentage}
}

// usable says what keeps a stored object from being worked on. The API stores none such; an edited backup may hold one.
func usable(web *v1.ElasticWeb) error {
	spec := &web.Spec
	switch {
	case spec.SinglePodsQPS == nil || spec.TargetUtilizationPercentage == nil || !perPod(web).Valid():
		return errors.New("spec.singlePodsQPS × spec.targetUtilizationPercentage / 100 must be 1 or more")
	case spec.TotalQPS == nil || *spec.TotalQPS < 0:
		return errors.New("spec.totalQPS must be 0 or more")
	case spec.MinReplicas == nil || *spec.MinReplicas < 0:
		return errors.New("spec.minReplicas must be 0 or more")
	case spec.MaxReplicas != nil && *spec.MaxReplicas < 1:
		return errors.New("spec.maxReplicas must be 1 or more")
	default:
		return nil
	}
}

// confirm asks our own API, not the cache, whether the ElasticWeb still lives and is the one that we know.
func (c *Controller) confirm(ctx context.Context, web *v1.ElasticWeb) error {
	live, err := c.config.ElasticWebs.ElasticwebV1().ElasticWebs(web.Namespace).Get(ctx, web.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return errChanged
	case err != nil:
		return fmt.Errorf("look up the ElasticWeb: %w", err)
	case live.UID != web.UID || live.DeletionTimestamp != nil:
		return errChanged
	default:
		return nil
	}
}

// leaving says whether the ElasticWeb, or the namespace that it is in, is being deleted.
func (c *Controller) leaving(web *v1.ElasticWeb) bool {
	if web.DeletionTimestamp != nil {
		return true
	}
	namespace, err := c.config.Namespaces.Get(web.Namespace)
	return err == nil && namespace.Status.Phase == corev1.NamespaceTerminating
}

// sort tells obstacles, which the status reports, from failures of the pass itself, which the log does. A decision that the
// cluster refused since the picture was old is neither: the event that brings the new picture brings the next pass.
func sort(errs ...error) (obstacles []*obstacle, failures error) {
	for _, err := range errs {
		var o *obstacle
		switch {
		case err == nil, errors.Is(err, errNotYetSeen), errors.Is(err, errChanged):
		case errors.As(err, &o):
			obstacles = append(obstacles, o)
		default:
			failures = errors.Join(failures, err)
		}
	}
	return obstacles, failures
}
