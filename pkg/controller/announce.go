package controller

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/capacity"
)

// announce tells of what the pass has written, if anything: one line in the log and one Event for each child.
func (c *Controller) announce(ctx context.Context, seen *observation, deploymentErr, serviceErr error) {
	if how, ok := errors.AsType[*written](deploymentErr); ok {
		c.decided(ctx, seen.web, how.how, seen.deploymentDecision(how.how))
	}
	if how, ok := errors.AsType[*written](serviceErr); ok {
		c.decided(ctx, seen.web, how.how, how.how+" the Service")
	}
}

// deploymentDecision says what was decided on the Deployment and why, with the arithmetic.
func (o *observation) deploymentDecision(how string) string {
	why := o.arithmetic()
	switch o.limited {
	case capacity.TooManyReplicas:
		why += fmt.Sprintf(", %s allows %d", o.upperLimit(), o.desired)
	case capacity.TooFewReplicas:
		why += ", " + o.lowerLimit()
	}
	if how == updated && o.deployment != nil && o.deployment.Spec.Replicas != nil {
		if before := *o.deployment.Spec.Replicas; before != o.desired {
			return fmt.Sprintf("Scaled %d→%d: %s", before, o.desired, why)
		}
		if before := image(o.deployment); before != "" && before != o.web.Spec.Image {
			return fmt.Sprintf("Rolls out image %s, before %s", o.web.Spec.Image, before)
		}
		return how + " the Deployment"
	}
	return fmt.Sprintf("%s the Deployment with %d replicas: %s", how, o.desired, why)
}

// image is that of the container that serves.
func image(deployment *appsv1.Deployment) string {
	for _, container := range deployment.Spec.Template.Spec.Containers {
		if container.Name == v1.ContainerName {
			return container.Image
		}
	}
	return ""
}

func (c *Controller) decided(ctx context.Context, web *v1.ElasticWeb, reason, message string) {
	values := []any{"image", web.Spec.Image, "singlePodsQPS", *web.Spec.SinglePodsQPS, "totalQPS", *web.Spec.TotalQPS}
	if web.Spec.Port != nil {
		values = append(values, "port", *web.Spec.Port)
	}
	if web.Status.RealQPS != nil {
		values = append(values, "realQPS", *web.Status.RealQPS)
	}
	klog.FromContext(ctx).Info(message, values...)
	c.events.Event(web, corev1.EventTypeNormal, reason, message)
}

// warn tells of a stall when it begins or changes its reason, once the status says so.
func (c *Controller) warn(ctx context.Context, web *v1.ElasticWeb, after *v1.ElasticWebStatus) {
	stalled := apimeta.FindStatusCondition(after.Conditions, v1.ConditionStalled)
	before := apimeta.FindStatusCondition(web.Status.Conditions, v1.ConditionStalled)
	if stalled == nil || stalled.Status != metav1.ConditionTrue || before != nil && before.Reason == stalled.Reason {
		return
	}
	klog.FromContext(ctx).Info("Stalled", "reason", stalled.Reason, "message", stalled.Message)
	c.events.Event(web, corev1.EventTypeWarning, stalled.Reason, stalled.Message)
}
