package identity

import (
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

var locked = metrics.NewGauge(&metrics.GaugeOpts{
	Namespace: "elasticweb", Subsystem: "storage_identity", Name: "locked",
	Help:           "1 while nothing is served because the storage is not the one that this installation has always used; 0 otherwise.",
	StabilityLevel: metrics.ALPHA,
})

func init() { utilruntime.Must(legacyregistry.Register(locked)) }
