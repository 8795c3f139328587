package controller

import (
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/component-base/metrics"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	elasticweblisters "elasticweb.example.com/pkg/generated/listers/elasticweb/v1"
)

// objectMetrics reads the gauges of each ElasticWeb when they are asked for, so none outlives its object.
type objectMetrics struct {
	metrics.BaseStableCollector
	elasticWebs elasticweblisters.ElasticWebLister
}

// NewObjectMetrics returns a collector of gauges of each ElasticWeb that the lister has.
func NewObjectMetrics(elasticWebs elasticweblisters.ElasticWebLister) metrics.StableCollector {
	return &objectMetrics{elasticWebs: elasticWebs}
}

func describe(name, help string, labels ...string) *metrics.Desc {
	return metrics.NewDesc(metrics.BuildFQName(metricsNamespace, "", name), help,
		append([]string{"namespace", "name"}, labels...), nil, metrics.ALPHA, "")
}

var (
	totalQPS        = describe("total_qps", "spec.totalQPS: the queries per second that the service must take.")
	realQPS         = describe("real_qps", "status.realQPS: the queries per second that the ready Pods take. Absent until first observed.")
	desiredReplicas = describe("desired_replicas", "status.desiredReplicas: the Pods that the service is to have.")
	readyReplicas   = describe("ready_replicas", "status.readyReplicas: the Pods that are ready.")
	condition       = describe("condition", "1 while the condition of this type is True, else 0.", "type")
)

// conditionTypes are those that the gauge shows.
var conditionTypes = []string{v1.ConditionReady, v1.ConditionCapacitySatisfied, v1.ConditionScalingLimited, v1.ConditionStalled}

// DescribeWithStability implements metrics.StableCollector.
func (m *objectMetrics) DescribeWithStability(descriptions chan<- *metrics.Desc) {
	for _, description := range []*metrics.Desc{totalQPS, realQPS, desiredReplicas, readyReplicas, condition} {
		descriptions <- description
	}
}

// CollectWithStability implements metrics.StableCollector.
func (m *objectMetrics) CollectWithStability(samples chan<- metrics.Metric) {
	webs, err := m.elasticWebs.List(labels.Everything())
	if err != nil {
		utilruntime.HandleError(fmt.Errorf("collect the metrics of ElasticWebs: %w", err))
		return
	}
	for _, web := range webs {
		gauge := func(description *metrics.Desc, value float64, labels ...string) {
			samples <- metrics.NewLazyConstMetric(description, metrics.GaugeValue, value, append([]string{web.Namespace, web.Name}, labels...)...)
		}
		if web.Spec.TotalQPS != nil {
			gauge(totalQPS, float64(*web.Spec.TotalQPS))
		}
		if web.Status.RealQPS != nil {
			gauge(realQPS, float64(*web.Status.RealQPS))
		}
		gauge(desiredReplicas, float64(web.Status.DesiredReplicas))
		gauge(readyReplicas, float64(web.Status.ReadyReplicas))
		for _, kind := range conditionTypes {
			value := 0.0
			if apimeta.IsStatusConditionPresentAndEqual(web.Status.Conditions, kind, metav1.ConditionTrue) {
				value = 1
			}
			gauge(condition, value, kind)
		}
	}
}
