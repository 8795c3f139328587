package workload

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

func sample() *v1.ElasticWeb {
	return &v1.ElasticWeb{
		ObjectMeta: metav1.ObjectMeta{Name: "elasticweb-sample", Namespace: "dev", UID: "00000000-0000-0000-0000-000000000001"},
		Spec: v1.ElasticWebSpec{
			Image: "nginx:1.17.1", Port: ptr.To[int32](30003), ContainerPort: 80, ServicePort: 8080,
			SinglePodsQPS: ptr.To[int32](800), TotalQPS: ptr.To[int32](2400), ServiceType: v1.ServiceTypeNodePort,
		},
	}
}

// The files are what the controller applies for the sample: whole, so that nothing slips in or out unseen.
func TestSample(t *testing.T) {
	golden(t, "deployment.yaml", deployment(t, sample(), 3))
	golden(t, "service.yaml", Service(sample()))
}

func TestSameInputSameBytes(t *testing.T) {
	web := sample()
	web.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{
		"a.example.com/a": resource.MustParse("1"), "b.example.com/b": resource.MustParse("1"), "c.example.com/c": resource.MustParse("1"),
	}}
	want := encode(t, deployment(t, web, 3))
	for range 50 {
		if got := encode(t, deployment(t, web.DeepCopy(), 3)); !bytes.Equal(got, want) {
			t.Fatalf("the same ElasticWeb gave\n%s\nand\n%s", want, got)
		}
	}
}

func TestResources(t *testing.T) {
	half := resource.MustParse("500m")
	tests := []struct {
		name  string
		given *corev1.ResourceRequirements
		want  string
	}{
		{name: "absent: the seed's", given: nil, want: `{"limits":{"cpu":"100m","memory":"512Mi"},"requests":{"cpu":"100m","memory":"512Mi"}}`},
		{name: "{}: none", given: &corev1.ResourceRequirements{}, want: `null`},
		{name: "only a request", given: &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: half}}, want: `{"requests":{"cpu":"500m"}}`},
		{
			name:  "less than a thousandth, rounded up as the cluster does",
			given: &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0.0001")}},
			want:  `{"limits":{"cpu":"1m"}}`,
		},
		{
			name:  "a claim",
			given: &corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpu", Request: "one"}, {Name: "nic"}}},
			want:  `{"claims":[{"name":"gpu","request":"one"},{"name":"nic"}]}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			web := sample()
			web.Spec.Resources = tt.given
			container := deployment(t, web, 1).Spec.Template.Spec.Containers[0]
			if got := string(encode(t, container.Resources)); got != tt.want {
				t.Errorf("resources = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestAnAbsentPortIsLeftToTheCluster(t *testing.T) {
	web := sample()
	web.Spec.Port = nil
	if got := Service(web).Spec.Ports[0].NodePort; got != nil {
		t.Errorf("nodePort = %d, want it left out", *got)
	}
}

func deployment(t testing.TB, web *v1.ElasticWeb, replicas int32) *appsv1ac.DeploymentApplyConfiguration {
	t.Helper()
	deployment, err := Deployment(web, replicas, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return deployment
}

func golden(t *testing.T, name string, object any) {
	t.Helper()
	file := filepath.Join("testdata", name)
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant, as in %s (go test ./pkg/workload -update writes it anew)\n%s", got, file, want)
	}
}

func encode(t *testing.T, object any) []byte {
	t.Helper()
	encoded, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}
