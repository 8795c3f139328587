package options

import (
	"k8s.io/client-go/util/cert"
	"k8s.io/component-base/metrics"
)

var etcdCertificateExpiration = metrics.NewDesc("elasticweb_etcd_client_certificate_expiration_timestamp_seconds",
	"When the certificate in --etcd-certfile, which somebody else renews, expires, in seconds since 1970. Not there while the file cannot be read.", nil, nil, metrics.ALPHA, "")

// etcdCertificateMetrics has when the certificate that etcd knows us by expires. etcd's client reads the file for each connection, and so
// does this for each scrape.
type etcdCertificateMetrics struct {
	metrics.BaseStableCollector
	file string
}

// DescribeWithStability implements metrics.StableCollector.
func (*etcdCertificateMetrics) DescribeWithStability(descriptions chan<- *metrics.Desc) {
	descriptions <- etcdCertificateExpiration
}

// CollectWithStability implements metrics.StableCollector.
func (m *etcdCertificateMetrics) CollectWithStability(collected chan<- metrics.Metric) {
	// The first is ours, those after it its authorities'.
	if chain, err := cert.CertsFromFile(m.file); err == nil {
		collected <- metrics.NewLazyConstMetric(etcdCertificateExpiration, metrics.GaugeValue, float64(chain[0].NotAfter.Unix()))
	}
}
