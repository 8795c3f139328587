package controller

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/capacity"
	elasticwebclient "elasticweb.example.com/pkg/generated/clientset/versioned"
)

// observation is what one pass knows of an ElasticWeb.
type observation struct {
	web             *v1.ElasticWeb
	now             metav1.Time
	demand, desired int32
	limits          capacity.Limits
	limited         capacity.Limited
	// deployment and service are what the caches show of the children; nil is none.
	deployment *appsv1.Deployment
	service    *corev1.Service
	// asWanted: the caches show both children as wanted.
	asWanted  bool
	leaving   bool
	obstacles []*obstacle
}

// status is the status that the observation gives.
func (o *observation) status() *v1.ElasticWebStatus {
	status := o.web.Status.DeepCopy()
	status.ObservedGeneration = o.web.Generation
	status.DesiredReplicas = o.desired
	status.DesiredQPS = capacity.QPS(*o.web.Spec.SinglePodsQPS, o.desired)
	status.Replicas, status.ReadyReplicas, status.UpdatedReplicas = 0, 0, 0
	switch {
	case o.deployment != nil && o.deployment.Status.ObservedGeneration > 0:
		status.Replicas = o.deployment.Status.Replicas
		status.ReadyReplicas = o.deployment.Status.ReadyReplicas
		status.UpdatedReplicas = o.deployment.Status.UpdatedReplicas
		fallthrough
	case status.RealQPS != nil:
		real := capacity.QPS(*o.web.Spec.SinglePodsQPS, status.ReadyReplicas)
		status.RealQPS = &real
	}
	status.NodePort = 0
	if o.service != nil {
		for _, port := range o.service.Spec.Ports {
			if port.Name == v1.PortName {
				status.NodePort = port.NodePort
			}
		}
	}
	o.setConditions(status)
	return status
}

func (o *observation) setConditions(status *v1.ElasticWebStatus) {
	set := func(kind string, value metav1.ConditionStatus, reason, message string) {
		apimeta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: value, Reason: reason, Message: message,
			ObservedGeneration: o.web.Generation, LastTransitionTime: o.now,
		})
	}

	arithmetic := fmt.Sprintf("%d of %d Pods are ready: %s", status.ReadyReplicas, o.desired, o.arithmetic())
	reconciling, stalled := o.abnormal(status)
	apimeta.RemoveStatusCondition(&status.Conditions, v1.ConditionReconciling)
	apimeta.RemoveStatusCondition(&status.Conditions, v1.ConditionStalled)
	switch {
	case o.paused():
		set(v1.ConditionReady, metav1.ConditionFalse, "Paused", "a change is pending: set spec.paused to false to have it made")
	case stalled != nil:
		set(v1.ConditionReady, metav1.ConditionFalse, stalled.reason, stalled.message)
	case reconciling != nil:
		if reconciling.message == "" {
			reconciling.message = arithmetic
		}
		set(v1.ConditionReady, metav1.ConditionFalse, reconciling.reason, reconciling.message)
	default:
		set(v1.ConditionReady, metav1.ConditionTrue, "AllReplicasReady", arithmetic)
	}

	switch {
	case status.RealQPS == nil:
		set(v1.ConditionCapacitySatisfied, metav1.ConditionUnknown, "NotObserved", "the Pods have not been observed yet")
	case *status.RealQPS >= int64(*o.web.Spec.TotalQPS):
		set(v1.ConditionCapacitySatisfied, metav1.ConditionTrue, "EnoughReadyReplicas",
			fmt.Sprintf("realQPS is %d, totalQPS %d", *status.RealQPS, *o.web.Spec.TotalQPS))
	default:
		set(v1.ConditionCapacitySatisfied, metav1.ConditionFalse, "TooFewReadyReplicas",
			fmt.Sprintf("realQPS is %d, totalQPS %d", *status.RealQPS, *o.web.Spec.TotalQPS))
	}

	switch o.limited {
	case capacity.TooManyReplicas:
		set(v1.ConditionScalingLimited, metav1.ConditionTrue, "TooManyReplicas",
			fmt.Sprintf("the demand needs %d replicas, %s allows %d", o.demand, o.upperLimit(), o.desired))
	case capacity.TooFewReplicas:
		set(v1.ConditionScalingLimited, metav1.ConditionTrue, "TooFewReplicas",
			fmt.Sprintf("the demand needs %d replicas, %s", o.demand, o.lowerLimit()))
	default:
		set(v1.ConditionScalingLimited, metav1.ConditionFalse, "WithinLimits", fmt.Sprintf("the demand needs %d replicas", o.demand))
	}

	// Last, so that the order of the list says nothing new.
	if stalled != nil {
		o.keep(status, v1.ConditionStalled, stalled)
	} else if reconciling != nil {
		o.keep(status, v1.ConditionReconciling, reconciling)
	}
}

// arithmetic is how the demand came about.
func (o *observation) arithmetic() string {
	spec := &o.web.Spec
	if *spec.TargetUtilizationPercentage == 100 {
		return fmt.Sprintf("ceil(%d/%d) = %d", *spec.TotalQPS, *spec.SinglePodsQPS, o.demand)
	}
	return fmt.Sprintf("ceil(%d/(%d × %d%%)) = %d", *spec.TotalQPS, *spec.SinglePodsQPS, *spec.TargetUtilizationPercentage, o.demand)
}

// upperLimit names the limit that keeps the replicas down.
func (o *observation) upperLimit() string {
	if o.limits.Max != nil && *o.limits.Max <= o.limits.Cap {
		return "maxReplicas"
	}
	return "the server (--max-replicas-per-elasticweb)"
}

// lowerLimit says what keeps the replicas up, and what keeps it from keeping them up as it asks.
func (o *observation) lowerLimit() string {
	text := fmt.Sprintf("minReplicas asks for %d", o.limits.Min)
	if o.limits.Min > o.desired {
		text += fmt.Sprintf(", %s allows %d", o.upperLimit(), o.desired)
	}
	return text
}

// paused says whether a change waits for the user.
func (o *observation) paused() bool {
	return o.web.Spec.Paused && !o.asWanted && !o.leaving
}

// keep adds a condition that is present only while it is true, with the transition time that it had before.
func (o *observation) keep(status *v1.ElasticWebStatus, kind string, why *obstacle) {
	condition := metav1.Condition{
		Type: kind, Status: metav1.ConditionTrue, Reason: why.reason, Message: why.message,
		ObservedGeneration: o.web.Generation, LastTransitionTime: o.now,
	}
	if before := apimeta.FindStatusCondition(o.web.Status.Conditions, kind); before != nil {
		condition.LastTransitionTime = before.LastTransitionTime
	}
	status.Conditions = append(status.Conditions, condition)
}

// abnormal says why the ElasticWeb is not Ready: what it waits for, or what stops it. Both nil: it is Ready.
func (o *observation) abnormal(status *v1.ElasticWebStatus) (reconciling, stalled *obstacle) {
	if o.leaving {
		return &obstacle{reason: "Terminating", message: "the children go with the ElasticWeb"}, nil
	}
	if o.paused() {
		return nil, nil
	}
	for _, obstacle := range o.obstacles {
		if !obstacle.passing {
			return nil, obstacle
		}
		reconciling = obstacle
	}
	if reconciling != nil {
		return reconciling, nil
	}
	if !o.asWanted || o.deployment == nil {
		return &obstacle{reason: "Applying"}, nil
	}
	observed := o.deployment.Status.ObservedGeneration >= o.deployment.Generation
	if observed {
		if stalled := rolloutStalled(o.deployment); stalled != nil {
			return nil, stalled
		}
	}
	switch {
	case !observed:
		return &obstacle{reason: "Applying"}, nil
	case status.UpdatedReplicas < status.Replicas, status.UpdatedReplicas < o.desired && status.ReadyReplicas >= o.desired:
		return &obstacle{reason: "RollingOut"}, nil
	case status.Replicas != o.desired, status.ReadyReplicas < o.desired:
		return &obstacle{reason: "Scaling"}, nil
	default:
		return nil, nil
	}
}

// rolloutStalled passes on what the Deployment itself says of a rollout that does not get on.
func rolloutStalled(deployment *appsv1.Deployment) *obstacle {
	for _, condition := range deployment.Status.Conditions {
		switch {
		case condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue:
			if strings.Contains(condition.Message, "exceeded quota") {
				return newObstacle("QuotaExceeded", condition.Message)
			}
			return newObstacle("ReplicaFailure", condition.Message)
		case condition.Type == appsv1.DeploymentProgressing && condition.Status == corev1.ConditionFalse:
			return newObstacle(condition.Reason, condition.Message)
		}
	}
	return nil
}

// pause is the time between the last write of a status and one that changes before to after.
func pause(before, after *v1.ElasticWebStatus) time.Duration {
	switch {
	case tellsSomethingNew(before, after):
		return 0
	case sameButForWords(before, after):
		// A webhook may refuse a child in other words each time: our own write of them would bring the next pass, and so on for ever.
		return maxDelay
	default:
		return minStatusInterval
	}
}

// minStatusInterval is the time between two writes of the status of one object that differ in numbers only.
const minStatusInterval = time.Second

// statusWriter writes statuses, as few as tell the story.
type statusWriter struct {
	client elasticwebclient.Interface
	cache  cache.Indexer
	clock  clock.PassiveClock

	mu   sync.Mutex
	last map[cache.ObjectName]statusWrite
}

type statusWrite struct {
	time            time.Time
	resourceVersion string
}

func newStatusWriter(client elasticwebclient.Interface, indexer cache.Indexer, clock clock.PassiveClock) *statusWriter {
	return &statusWriter{client: client, cache: indexer, clock: clock, last: map[cache.ObjectName]statusWrite{}}
}

// write makes status the status of web, now, later or never: it returns whether it did, and when to try again, 0 for never.
func (w *statusWriter) write(ctx context.Context, web *v1.ElasticWeb, status *v1.ElasticWebStatus) (wrote bool, again time.Duration, err error) {
	key := cache.MetaObjectToName(web)
	w.mu.Lock()
	last, written := w.last[key]
	w.mu.Unlock()
	if written && !reached(w.cache.LastStoreSyncResourceVersion(), last.resourceVersion) {
		// Computed from a picture older than our own last write; the event that brings it brings the next pass.
		return false, 0, nil
	}
	if apiequality.Semantic.DeepEqual(&web.Status, status) {
		return false, 0, nil
	}
	if wait := pause(&web.Status, status) - w.clock.Since(last.time); written && wait > 0 {
		return false, wait, nil
	}
	update := web.DeepCopy()
	update.Status = *status
	result, err := w.client.ElasticwebV1().ElasticWebs(web.Namespace).UpdateStatus(ctx, update, metav1.UpdateOptions{})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		// The object has changed or gone since: the event that says so brings the next pass.
		return false, 0, nil
	case err != nil:
		return false, 0, fmt.Errorf("write the status: %w", err)
	}
	statusWrites.Inc()
	w.mu.Lock()
	w.last[key] = statusWrite{time: w.clock.Now(), resourceVersion: result.ResourceVersion}
	w.mu.Unlock()
	return true, 0, nil
}

func (w *statusWriter) forget(key cache.ObjectName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.last, key)
}

// tellsSomethingNew says whether the change is more than a change of numbers.
func tellsSomethingNew(before, after *v1.ElasticWebStatus) bool {
	if before.ObservedGeneration != after.ObservedGeneration || len(before.Conditions) != len(after.Conditions) {
		return true
	}
	for _, condition := range after.Conditions {
		old := apimeta.FindStatusCondition(before.Conditions, condition.Type)
		if old == nil || old.Status != condition.Status || old.Reason != condition.Reason {
			return true
		}
	}
	return false
}

// sameButForWords says whether the messages of conditions are all that changes.
func sameButForWords(before, after *v1.ElasticWebStatus) bool {
	same := after.DeepCopy()
	for i := range same.Conditions {
		if old := apimeta.FindStatusCondition(before.Conditions, same.Conditions[i].Type); old != nil {
			same.Conditions[i].Message = old.Message
		}
	}
	return apiequality.Semantic.DeepEqual(before, same)
}
