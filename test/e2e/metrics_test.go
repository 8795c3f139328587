package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// metricNames are what the rules and the dashboard of artifacts/grafana may name.
var metricNames = regexp.MustCompile(`\b(?:elasticweb|apiserver|leader_election|workqueue|aggregator)_[a-z_]+\b`)

// Every metric that an alert or a panel asks for is served, with the labels that it is asked by: a misspelt one would be silent.
func TestTheMetricsOfRulesAndDashboardExist(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	config, err := clientcmd.BuildConfigFromFlags("", shared.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	kubeAPIServer, err := shared.Kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own := rest.CopyConfig(config)
	own.Host = "https://127.0.0.1:" + strings.TrimSpace(kubectl(t, "get", "apiservice", "v1.elasticweb.example.com", "-o", "jsonpath={.spec.service.port}"))
	own.CAData, own.CAFile = servingCA(t), ""
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		t.Fatal(err)
	}
	served, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"elasticweb-rules.yaml", "elasticweb-dashboard.json"} {
		text, err := os.ReadFile(filepath.Join(root, "artifacts", "grafana", file))
		if err != nil {
			t.Fatal(err)
		}
		names := metricNames.FindAllString(string(text), -1)
		if len(names) < 7 {
			t.Fatalf("%s names %d metrics", file, len(names))
		}
		for _, name := range names {
			// Of flags that this server has not: fault TestAnExternalEtcdOfThreeWithTLS, and pkg/storage/embedded.
			if name == "elasticweb_etcd_client_certificate_expiration_timestamp_seconds" || name == "elasticweb_etcd_snapshot_age_seconds" {
				continue
			}
			from := served
			if strings.HasPrefix(name, "aggregator_") {
				from = kubeAPIServer
			}
			if !strings.Contains(string(from), "\n"+name+"{") && !strings.Contains(string(from), "\n"+name+" ") {
				t.Errorf("%s asks for %s, which is not served", file, name)
			}
		}
	}
	for _, sample := range []string{
		`leader_election_master_status{name="elasticweb-apiserver"} 1`,
		`elasticweb_total_qps{name="web",namespace="` + w.Namespace + `"} 2400`,
		`elasticweb_real_qps{name="web",namespace="` + w.Namespace + `"} 2400`,
		`elasticweb_condition{name="web",namespace="` + w.Namespace + `",type="Ready"} 1`,
		`workqueue_depth{name="elasticweb"} `,
	} {
		if !strings.Contains(string(served), "\n"+sample) {
			t.Errorf("not served: %s", sample)
		}
	}
	kubeAggregated := `aggregator_unavailable_apiservice{name="v1.elasticweb.example.com"} 0`
	if !strings.Contains(string(kubeAPIServer), kubeAggregated) {
		t.Errorf("not served by kube-apiserver: %s", kubeAggregated)
	}
}
