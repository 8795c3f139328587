// Package fuzzer fills ElasticWebs at random, for tests of conversions.
package fuzzer

import (
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill"

	"elasticweb.example.com/apis/elasticweb"
)

// Funcs are the types that must not be filled wholly at random: what defaulting would set must not be empty, or no round trip
// could give it back.
func Funcs(serializer.CodecFactory) []any {
	return []any{
		func(spec *elasticweb.ElasticWebSpec, c randfill.Continue) {
			c.FillNoCustom(spec)
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
				spec.ServiceType = elasticweb.ServiceTypeNodePort
			}
		},
	}
}
