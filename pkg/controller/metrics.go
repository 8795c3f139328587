package controller

import (
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const metricsNamespace, metricsSubsystem = "elasticweb", "controller"

// The queue's own metrics (depth, latency, retries) are client-go's: workqueue_*{name="elasticweb"}. Whether this process is
// the leader is, too: leader_election_master_status.
var (
	reconcileDuration = metrics.NewHistogram(&metrics.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "reconcile_duration_seconds",
		Help:           "How long one pass over one ElasticWeb takes, writes included.",
		Buckets:        metrics.ExponentialBuckets(0.0001, 4, 10),
		StabilityLevel: metrics.ALPHA,
	})
	reconcileErrors = metrics.NewCounter(&metrics.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "reconcile_errors_total",
		Help:           "Passes that failed and will be repeated. What the status reports as Stalled is none.",
		StabilityLevel: metrics.ALPHA,
	})
	childWrites = metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "child_writes_total",
		Help: "Writes of Deployments and Services, by what came of them: Created, Adopted, Updated, " +
			"Unchanged (it was as wanted already), Conflict (decided on an old picture, and refused), Failed.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"kind", "result"})
	statusWrites = metrics.NewCounter(&metrics.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "status_writes_total",
		Help:           "Writes of the status of ElasticWebs.",
		StabilityLevel: metrics.ALPHA,
	})
)

func init() {
	for _, metric := range []metrics.Registerable{reconcileDuration, reconcileErrors, childWrites, statusWrites} {
		utilruntime.Must(legacyregistry.Register(metric))
	}
}
