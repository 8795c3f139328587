package servingcert

import (
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// expiration has no sample while no Secret is used: a 0 would be one that has long expired.
var expiration = metrics.NewGaugeVec(&metrics.GaugeOpts{
	Namespace: "elasticweb", Subsystem: "serving_certificate", Name: "expiration_timestamp_seconds",
	Help:           "When the serving certificate in the Secret expires, in seconds since 1970.",
	StabilityLevel: metrics.ALPHA,
}, nil)

func init() { utilruntime.Must(legacyregistry.Register(expiration)) }
