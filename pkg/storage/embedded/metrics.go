package embedded

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"k8s.io/component-base/metrics"
)

// Metrics are those of etcd, which registers them where Kubernetes' own are not.
type Metrics struct{}

// Describe implements prometheus.Collector. What etcd has is known only when it is asked.
func (Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (Metrics) Collect(collected chan<- prometheus.Metric) {
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		return
	}
	for _, family := range families {
		// The others there, of the process, Kubernetes has, too.
		if !strings.HasPrefix(family.GetName(), "etcd_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName())
			}
			collected <- gathered{prometheus.NewDesc(family.GetName(), family.GetHelp(), labels, nil), metric}
		}
	}
}

// gathered is a metric that another registry has collected.
type gathered struct {
	desc   *prometheus.Desc
	metric *dto.Metric
}

// Desc implements prometheus.Metric.
func (g gathered) Desc() *prometheus.Desc { return g.desc }

// Write implements prometheus.Metric.
func (g gathered) Write(metric *dto.Metric) error {
	proto.Merge(metric, g.metric)
	return nil
}

var snapshotAge = metrics.NewDesc("elasticweb_etcd_snapshot_age_seconds",
	"The age of the newest snapshot that the schedule has saved, in seconds; while there is none, the time since the start.", nil, nil, metrics.ALPHA, "")

// SnapshotMetrics has the age of the newest snapshot in the folder.
type SnapshotMetrics struct {
	metrics.BaseStableCollector
	dir   string
	begin time.Time
}

// NewSnapshotMetrics returns the metrics of the snapshots in the folder, into which a schedule begins to save now.
func NewSnapshotMetrics(dir string) *SnapshotMetrics {
	return &SnapshotMetrics{dir: dir, begin: time.Now()}
}

// DescribeWithStability implements metrics.StableCollector.
func (*SnapshotMetrics) DescribeWithStability(descriptions chan<- *metrics.Desc) {
	descriptions <- snapshotAge
}

// CollectWithStability implements metrics.StableCollector.
func (m *SnapshotMetrics) CollectWithStability(collected chan<- metrics.Metric) {
	at := newest(m.dir)
	if at.IsZero() {
		at = m.begin
	}
	collected <- metrics.NewLazyConstMetric(snapshotAge, metrics.GaugeValue, time.Since(at).Seconds())
}
