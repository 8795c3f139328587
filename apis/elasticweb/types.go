package elasticweb

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The fields are documented in package v1, whose shape this package shares: conversion is then a cast, not a copy.

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ElasticWeb is the hub form of v1.ElasticWeb.
type ElasticWeb struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	Spec   ElasticWebSpec
	Status ElasticWebStatus
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ElasticWebList is the hub form of v1.ElasticWebList.
type ElasticWebList struct {
	metav1.TypeMeta
	metav1.ListMeta

	Items []ElasticWeb
}

// ElasticWebSpec is the hub form of v1.ElasticWebSpec.
type ElasticWebSpec struct {
	Image                       string
	Port                        *int32
	ContainerPort               int32
	ServicePort                 int32
	SinglePodsQPS               *int32
	TotalQPS                    *int32
	TargetUtilizationPercentage *int32
	MinReplicas                 *int32
	MaxReplicas                 *int32
	ServiceType                 ServiceType
	ServiceAnnotations          map[string]string
	Resources                   *corev1.ResourceRequirements
	Template                    *corev1.PodTemplateSpec
	Paused                      bool
}

// ServiceType is the hub form of v1.ServiceType.
type ServiceType string

// The values of ServiceType.
const (
	ServiceTypeClusterIP    ServiceType = "ClusterIP"
	ServiceTypeNodePort     ServiceType = "NodePort"
	ServiceTypeLoadBalancer ServiceType = "LoadBalancer"
)

// ElasticWebStatus is the hub form of v1.ElasticWebStatus.
type ElasticWebStatus struct {
	ObservedGeneration int64
	DesiredReplicas    int32
	Replicas           int32
	ReadyReplicas      int32
	UpdatedReplicas    int32
	DesiredQPS         int64
	RealQPS            *int64
	Selector           string
	NodePort           int32
	Conditions         []metav1.Condition
}
