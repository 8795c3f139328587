// Package metricsadapter serves one external metric, whose value is in a file, for tests of autoscalers. It is the only
// simulation besides kwok: what reads the metric is the cluster's own.
package metricsadapter
