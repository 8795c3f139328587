package v1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:method=GetScale,verb=get,subresource=scale,result=k8s.io/api/autoscaling/v1.Scale
// +genclient:method=UpdateScale,verb=update,subresource=scale,input=k8s.io/api/autoscaling/v1.Scale,result=k8s.io/api/autoscaling/v1.Scale
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +k8s:supportsSubresource="/status"
// +k8s:supportsSubresource="/scale"

// ElasticWeb states the capacity that a web service needs, in queries per second (QPS). The cluster keeps
// ceil(totalQPS / singlePodsQPS) Pods running behind a Service of the same name, and reports in status.realQPS the capacity
// that is really there.
type ElasticWeb struct {
	// +k8s:opaqueType
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata. The name must be a DNS-1035 label of at most 63 characters (a-z, 0-9 and
	// '-', beginning with a letter), since the Service gets the same name.
	// +optional
	// +k8s:opaqueType
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// spec is what the user asks for.
	Spec ElasticWebSpec `json:"spec" protobuf:"bytes,2,opt,name=spec"`

	// status is what the controller has last observed. Written through the status subresource only.
	// +optional
	Status ElasticWebStatus `json:"status,omitempty" protobuf:"bytes,3,opt,name=status"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ElasticWebList is a list of ElasticWebs.
type ElasticWebList struct {
	// +k8s:opaqueType
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	// +k8s:opaqueType
	metav1.ListMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	// items are the ElasticWebs.
	Items []ElasticWeb `json:"items" protobuf:"bytes,2,rep,name=items"`
}

// ElasticWebSpec is what the user asks for.
type ElasticWebSpec struct {
	// image is the container image of the web service, a valid OCI image reference. Required.
	// +required
	// +k8s:required
	Image string `json:"image" protobuf:"bytes,1,opt,name=image"`

	// port is the port on every node at which the service is reached from outside the cluster (the Service's nodePort).
	// Absent: the cluster allocates one, shown in status.nodePort, and the Service keeps it. Range: the server's
	// --service-node-port-range (default 30000-32767); checked when it is set or changed. Not allowed with serviceType
	// ClusterIP, which has no such port.
	// +optional
	Port *int32 `json:"port,omitempty" protobuf:"varint,2,opt,name=port"`

	// containerPort is the TCP port on which the container listens. Default 80. Range 1 to 65535.
	// +optional
	// +default=80
	// +k8s:optional
	// +k8s:minimum=1
	// +k8s:maximum=65535
	ContainerPort int32 `json:"containerPort,omitempty" protobuf:"varint,3,opt,name=containerPort"`

	// servicePort is the port of the Service inside the cluster; its target is the container port named "http". Default 8080.
	// Range 1 to 65535.
	// +optional
	// +default=8080
	// +k8s:optional
	// +k8s:minimum=1
	// +k8s:maximum=65535
	ServicePort int32 `json:"servicePort,omitempty" protobuf:"varint,4,opt,name=servicePort"`

	// singlePodsQPS is the load that one Pod can take, in queries per second. Required. Range: 1 and more.
	// +required
	// +k8s:required
	// +k8s:minimum=1
	SinglePodsQPS *int32 `json:"singlePodsQPS" protobuf:"varint,5,opt,name=singlePodsQPS"`

	// totalQPS is the load that the whole service must take, in queries per second: it runs
	// ceil(totalQPS / (singlePodsQPS × targetUtilizationPercentage / 100)) Pods, within minReplicas and maxReplicas. Default
	// when the object is created: singlePodsQPS. Left out of an update, the value stays as it is, so that an apply without it
	// does not undo an autoscaler. Range: 0 and more; 0 asks for no Pod. Autoscalers change it through the scale subresource,
	// which counts it in Pods.
	// +optional
	// +k8s:optional
	// +k8s:minimum=0
	TotalQPS *int32 `json:"totalQPS,omitempty" protobuf:"varint,6,opt,name=totalQPS"`

	// targetUtilizationPercentage is the part of singlePodsQPS, in percent, that a Pod is planned to carry: below 100, the
	// rest is a reserve for peaks. Default 100. Range 1 to 100; singlePodsQPS × targetUtilizationPercentage / 100 must be 1
	// query per second or more.
	// +optional
	// +default=100
	// +k8s:optional
	// +k8s:minimum=1
	// +k8s:maximum=100
	TargetUtilizationPercentage *int32 `json:"targetUtilizationPercentage,omitempty" protobuf:"varint,8,opt,name=targetUtilizationPercentage"`

	// minReplicas is the least number of Pods that run, whatever totalQPS needs. Default 0. Range: 0 and more, at most
	// maxReplicas.
	// +optional
	// +default=0
	// +k8s:optional
	// +k8s:minimum=0
	MinReplicas *int32 `json:"minReplicas,omitempty" protobuf:"varint,9,opt,name=minReplicas"`

	// maxReplicas is the largest number of Pods that run, whatever totalQPS needs. Default when absent: only the server's
	// --max-replicas-per-elasticweb (default 1000) limits the number; it does so in any case. Range: 1 and more.
	// +optional
	// +k8s:optional
	// +k8s:minimum=1
	MaxReplicas *int32 `json:"maxReplicas,omitempty" protobuf:"varint,10,opt,name=maxReplicas"`

	// serviceType says how the service is reached: inside the cluster (ClusterIP), also at a port of every node (NodePort), or
	// also through a load balancer of the cloud (LoadBalancer). It may change at any time. Default NodePort.
	// +optional
	// +default="NodePort"
	// +k8s:optional
	ServiceType ServiceType `json:"serviceType,omitempty" protobuf:"bytes,11,opt,name=serviceType,casttype=ServiceType"`

	// serviceAnnotations are set on the Service, in addition to those that others set there. Load balancers are configured by
	// annotations. Default: none. Keys are qualified names; all of them together are at most 256 KiB.
	// +optional
	ServiceAnnotations map[string]string `json:"serviceAnnotations,omitempty" protobuf:"bytes,12,rep,name=serviceAnnotations"`

	// resources are the compute resources of the container. Default when absent: requests and limits of 100m CPU and 512Mi
	// memory; {} means none. 100m CPU may not carry the QPS that singlePodsQPS claims: measure, and set what is needed.
	// Quantities are 0 or more, and a request is at most its limit.
	// +optional
	// +k8s:optional
	// +k8s:opaqueType
	Resources *corev1.ResourceRequirements `json:"resources,omitempty" protobuf:"bytes,7,opt,name=resources"`

	// template is laid over the Pod template that is generated from the other fields, by strategic merge: what it leaves out
	// stays. The container named "web" is the app: its image and resources may not be set here, since the fields of that name
	// say them, and a probe given here replaces the generated one whole. Other containers, volumes, labels and whatever else a
	// Pod template has are taken over. No port may be named "http", by which the Service finds containerPort, and the label
	// elasticweb.example.com/name, by which it finds the Pods, may not be set. Whoever changes this, or the image below it,
	// needs the right to create deployments.apps in the namespace. Default: nothing is laid over.
	// +optional
	// +k8s:optional
	// +k8s:opaqueType
	Template *corev1.PodTemplateSpec `json:"template,omitempty" protobuf:"bytes,13,opt,name=template"`

	// paused keeps the Deployment and the Service as they are while it is true, whatever else changes here; the status is
	// still reported. Default false.
	// +optional
	Paused bool `json:"paused,omitempty" protobuf:"varint,14,opt,name=paused"`
}

// ServiceType says how a service is reached.
// +enum
// +k8s:enum
type ServiceType string

// The values of ServiceType.
const (
	// ServiceTypeClusterIP: inside the cluster only.
	ServiceTypeClusterIP ServiceType = "ClusterIP"
	// ServiceTypeNodePort: also at a port of every node.
	ServiceTypeNodePort ServiceType = "NodePort"
	// ServiceTypeLoadBalancer: also through a load balancer of the cloud.
	ServiceTypeLoadBalancer ServiceType = "LoadBalancer"
)

// ElasticWebStatus is what the controller has last observed.
type ElasticWebStatus struct {
	// observedGeneration is the metadata.generation that this status speaks of; 0 until the controller has seen the object.
	// +k8s:optional
	// +k8s:minimum=0
	ObservedGeneration int64 `json:"observedGeneration" protobuf:"varint,1,opt,name=observedGeneration"`

	// desiredReplicas is the number of Pods that the demand needs, after the limits were applied.
	// +optional
	// +k8s:optional
	// +k8s:minimum=0
	DesiredReplicas int32 `json:"desiredReplicas" protobuf:"varint,2,opt,name=desiredReplicas"`

	// replicas is the number of Pods that exist, of the old and the new template together.
	// +optional
	// +k8s:optional
	// +k8s:minimum=0
	Replicas int32 `json:"replicas" protobuf:"varint,3,opt,name=replicas"`

	// readyReplicas is the number of Pods that are ready, of the old and the new template together.
	// +optional
	// +k8s:optional
	// +k8s:minimum=0
	ReadyReplicas int32 `json:"readyReplicas" protobuf:"varint,4,opt,name=readyReplicas"`

	// updatedReplicas is the number of Pods that have the newest template.
	// +optional
	// +k8s:optional
	// +k8s:minimum=0
	UpdatedReplicas int32 `json:"updatedReplicas" protobuf:"varint,5,opt,name=updatedReplicas"`

	// desiredQPS is the capacity of the desired Pods, in queries per second: singlePodsQPS × desiredReplicas.
	// +optional
	// +k8s:optional
	// +k8s:minimum=0
	DesiredQPS int64 `json:"desiredQPS" protobuf:"varint,6,opt,name=desiredQPS"`

	// realQPS is the capacity of the Pods that are ready, in queries per second: singlePodsQPS × readyReplicas. It is declared
	// capacity, not measured: it holds if singlePodsQPS is true and the load is spread evenly. Absent until the Pods were
	// first observed.
	// +optional
	// +k8s:optional
	// +k8s:minimum=0
	RealQPS *int64 `json:"realQPS,omitempty" protobuf:"varint,7,opt,name=realQPS"`

	// selector is the label selector of the Pods, computed from the name.
	// +optional
	Selector string `json:"selector,omitempty" protobuf:"bytes,8,opt,name=selector"`

	// nodePort is the port on every node at which the service is reached, as the Service holds it; 0 while it has none.
	// +optional
	// +k8s:optional
	// +k8s:minimum=0
	NodePort int32 `json:"nodePort,omitempty" protobuf:"varint,9,opt,name=nodePort"`

	// conditions are the observed conditions: Ready, CapacitySatisfied, ScalingLimited, and, only while they are true,
	// Reconciling and Stalled.
	// +optional
	// +patchMergeKey=type
	// +patchStrategy=merge
	// +listType=map
	// +listMapKey=type
	// +k8s:optional
	// +k8s:eachVal=+k8s:opaqueType
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type" protobuf:"bytes,10,rep,name=conditions"`
}

// The types of the conditions in status.conditions.
const (
	// ConditionReady is True when the Service is as asked, the rollout is complete and as many Pods as desired are ready.
	ConditionReady = "Ready"
	// ConditionCapacitySatisfied is True when realQPS is at least totalQPS.
	ConditionCapacitySatisfied = "CapacitySatisfied"
	// ConditionScalingLimited is True when a limit changed the number of Pods that the demand alone would give.
	ConditionScalingLimited = "ScalingLimited"
	// ConditionReconciling is present, and True, while the children are on their way to what is asked (kstatus).
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present, and True, while something keeps the children from getting there (kstatus).
	ConditionStalled = "Stalled"
)
