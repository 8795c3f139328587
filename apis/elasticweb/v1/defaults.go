package v1

import "k8s.io/utils/ptr"

// SetDefaults_ElasticWebSpec fills in the fields whose default depends on nothing. (totalQPS has one only when the object is
// created, so the strategy sets it.) The marker keeps the generator out of the template: its defaults are the Deployment's
// to set, and what the user wrote stays as it is.
//
// +k8s:defaulter-gen=covers
func SetDefaults_ElasticWebSpec(spec *ElasticWebSpec) {
	if spec.ContainerPort == 0 {
		spec.ContainerPort = 80
	}
	if spec.ServicePort == 0 {
		spec.ServicePort = 8080
	}
	if spec.TargetUtilizationPercentage == nil {
		spec.TargetUtilizationPercentage = ptr.To[int32](100)
	}
	if spec.MinReplicas == nil {
		spec.MinReplicas = ptr.To[int32](0)
	}
	if spec.ServiceType == "" {
		spec.ServiceType = ServiceTypeNodePort
	}
}
