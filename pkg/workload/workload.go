package workload

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// Deployment returns the Deployment that runs so many replicas of web's Pod. A rollout that gets no further for progressDeadline
// (whole seconds, 1 or more) counts as failed. It is an error if web's template cannot be laid over the generated one.
func Deployment(web *v1.ElasticWeb, replicas int32, progressDeadline time.Duration) (*appsv1ac.DeploymentApplyConfiguration, error) {
	template, err := podTemplate(web)
	if err != nil {
		return nil, err
	}
	return appsv1ac.Deployment(web.Name, web.Namespace).
		WithLabels(labels(web)).
		WithOwnerReferences(owner(web)).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(replicas).
			WithProgressDeadlineSeconds(int32(progressDeadline / time.Second)).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector(web))).
			// No Pod goes before its successor is ready, or a rollout would dip below the demand. (The default takes a quarter
			// of the Pods away.)
			WithStrategy(appsv1ac.DeploymentStrategy().
				WithType(appsv1.RollingUpdateDeploymentStrategyType).
				WithRollingUpdate(appsv1ac.RollingUpdateDeployment().
					WithMaxUnavailable(intstr.FromInt32(0)).
					WithMaxSurge(intstr.FromString("25%")))).
			WithTemplate(template)), nil
}

// Service returns the Service through which web's Pods are reached.
func Service(web *v1.ElasticWeb) *corev1ac.ServiceApplyConfiguration {
	port := corev1ac.ServicePort().
		WithName(v1.PortName).
		WithProtocol(corev1.ProtocolTCP).
		WithPort(web.Spec.ServicePort).
		WithTargetPort(intstr.FromString(v1.PortName))
	// Left out, the cluster allocates a node port and the Service keeps it.
	if web.Spec.Port != nil {
		port.WithNodePort(*web.Spec.Port)
	}
	return corev1ac.Service(web.Name, web.Namespace).
		WithLabels(labels(web)).
		WithAnnotations(web.Spec.ServiceAnnotations).
		WithOwnerReferences(owner(web)).
		WithSpec(corev1ac.ServiceSpec().
			WithType(corev1.ServiceType(web.Spec.ServiceType)).
			WithSelector(selector(web)).
			WithPorts(port))
}

// resources are the seed's where the user gave none. What the user gave stands; nothing at all for {}, since no manager of
// fields can own an empty struct.
func resources(given *corev1.ResourceRequirements) *corev1ac.ResourceRequirementsApplyConfiguration {
	if given == nil {
		list := corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("100m"),
			corev1.ResourceMemory: resource.MustParse("512Mi"),
		}
		return corev1ac.ResourceRequirements().WithRequests(list).WithLimits(list)
	}
	if len(given.Limits)+len(given.Requests)+len(given.Claims) == 0 {
		return nil
	}
	result := corev1ac.ResourceRequirements()
	if len(given.Limits) > 0 {
		result.WithLimits(stored(given.Limits))
	}
	if len(given.Requests) > 0 {
		result.WithRequests(stored(given.Requests))
	}
	for _, claim := range given.Claims {
		c := corev1ac.ResourceClaim().WithName(claim.Name)
		if claim.Request != "" {
			c.WithRequest(claim.Request)
		}
		result.WithClaims(c)
	}
	return result
}

// stored are the quantities as the cluster keeps them: it rounds up to thousandths, and what we want must be what it has.
func stored(list corev1.ResourceList) corev1.ResourceList {
	rounded := make(corev1.ResourceList, len(list))
	for name, quantity := range list {
		quantity.RoundUp(resource.Milli)
		rounded[name] = quantity
	}
	return rounded
}

func selector(web *v1.ElasticWeb) map[string]string {
	return map[string]string{v1.NameLabel: web.Name}
}

func labels(web *v1.ElasticWeb) map[string]string {
	return map[string]string{
		v1.NameLabel:                   web.Name,
		"app.kubernetes.io/name":       "elasticweb",
		"app.kubernetes.io/instance":   web.Name,
		"app.kubernetes.io/component":  v1.ContainerName,
		"app.kubernetes.io/managed-by": "elasticweb-apiserver",
	}
}

// owner makes the garbage collector delete a child with its ElasticWeb, and foreground deletion wait for it.
func owner(web *v1.ElasticWeb) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1.SchemeGroupVersion.String()).
		WithKind("ElasticWeb").
		WithName(web.Name).
		WithUID(web.UID).
		WithController(true).
		WithBlockOwnerDeletion(true)
}
