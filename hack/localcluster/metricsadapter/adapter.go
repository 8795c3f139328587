package metricsadapter

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/metrics/pkg/apis/external_metrics"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

// Main is the program.
func Main() {
	if err := run(genericapiserver.SetupSignalContext(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "metrics-adapter:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, args []string) error {
	adapter := &cmd.AdapterBase{Name: "metrics-adapter", FlagSet: pflag.NewFlagSet("metrics-adapter", pflag.ContinueOnError)}
	var metric fileMetric
	adapter.Flags().StringVar(&metric.name, "metric", "requests-per-second", "the name of the metric")
	adapter.Flags().StringVar(&metric.file, "value-file", "", "the file that holds its value, a quantity")
	if err := adapter.Flags().Parse(args); err != nil {
		return err
	}
	adapter.WithExternalMetrics(metric)
	return adapter.Run(ctx)
}

// fileMetric is a metric of the same value everywhere.
type fileMetric struct {
	name, file string
}

// GetExternalMetric implements provider.ExternalMetricsProvider.
func (m fileMetric) GetExternalMetric(_ context.Context, _ string, _ labels.Selector, info provider.ExternalMetricInfo) (*external_metrics.ExternalMetricValueList, error) {
	if info.Metric != m.name {
		return nil, provider.NewMetricNotFoundError(external_metrics.Resource("externalmetrics"), info.Metric)
	}
	text, err := os.ReadFile(m.file)
	if err != nil {
		return nil, err
	}
	value, err := resource.ParseQuantity(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s holds no quantity: %w", m.file, err)
	}
	return &external_metrics.ExternalMetricValueList{Items: []external_metrics.ExternalMetricValue{
		{MetricName: m.name, Timestamp: metav1.NewTime(time.Now()), Value: value},
	}}, nil
}

// ListAllExternalMetrics implements provider.ExternalMetricsProvider.
func (m fileMetric) ListAllExternalMetrics() []provider.ExternalMetricInfo {
	return []provider.ExternalMetricInfo{{Metric: m.name}}
}
