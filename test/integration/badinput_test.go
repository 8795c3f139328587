package integration

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestBadInputIsRefusedAndNotStored(t *testing.T) {
	tests := []struct {
		name     string
		metadata string
		spec     string
		wantCode int
		// want are parts of the message: the field, and what is allowed.
		want []string
	}{
		{
			name: "no image", spec: `"singlePodsQPS":800`,
			wantCode: 422, want: []string{"spec.image: Required value"},
		},
		{
			name: "an image that is none", spec: `"image":"nginx latest","singlePodsQPS":800`,
			wantCode: 422, want: []string{`spec.image: Invalid value: "nginx latest"`, "OCI image reference"},
		},
		{
			name: "no singlePodsQPS", spec: `"image":"nginx"`,
			wantCode: 422, want: []string{"spec.singlePodsQPS: Required value"},
		},
		{
			name: "singlePodsQPS 0", spec: `"image":"nginx","singlePodsQPS":0`,
			wantCode: 422, want: []string{"spec.singlePodsQPS: Invalid value: 0: must be greater than or equal to 1"},
		},
		{
			name: "a negative totalQPS", spec: `"image":"nginx","singlePodsQPS":800,"totalQPS":-1`,
			wantCode: 422, want: []string{"spec.totalQPS: Invalid value: -1: must be greater than or equal to 0"},
		},
		{
			name: "port 80", spec: `"image":"nginx","singlePodsQPS":800,"port":80`,
			wantCode: 422, want: []string{"spec.port: Invalid value: 80", "30000-32767", "--service-node-port-range"},
		},
		{
			name: "a containerPort beyond all ports", spec: `"image":"nginx","singlePodsQPS":800,"containerPort":65536`,
			wantCode: 422, want: []string{"spec.containerPort: Invalid value: 65536: must be less than or equal to 65535"},
		},
		{
			name: "a name of 64 characters", metadata: `"name":"` + strings.Repeat("a", 64) + `"`, spec: `"image":"nginx","singlePodsQPS":800`,
			wantCode: 422, want: []string{"metadata.name: Invalid value", "no more than 63"},
		},
		{
			name: "a name with a dot", metadata: `"name":"a.b"`, spec: `"image":"nginx","singlePodsQPS":800`,
			wantCode: 422, want: []string{`metadata.name: Invalid value: "a.b"`, "DNS-1035"},
		},
		{
			name: "a name that begins with a digit", metadata: `"name":"1a"`, spec: `"image":"nginx","singlePodsQPS":800`,
			wantCode: 422, want: []string{`metadata.name: Invalid value: "1a"`, "DNS-1035"},
		},
		{
			name: "an unknown field", spec: `"image":"nginx","singlePodsQPS":800,"replicas":3`,
			wantCode: 400, want: []string{`unknown field "spec.replicas"`},
		},
		{
			name: "a number in quotes", spec: `"image":"nginx","singlePodsQPS":"800"`,
			wantCode: 400, want: []string{"singlePodsQPS"},
		},
		{
			name: "a request above its limit", spec: `"image":"nginx","singlePodsQPS":800,"resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}`,
			wantCode: 422, want: []string{`spec.resources.requests[cpu]: Invalid value: "2"`, "at most its limit of 1"},
		},
		{
			name: "a negative quantity", spec: `"image":"nginx","singlePodsQPS":800,"resources":{"limits":{"cpu":"-1"}}`,
			wantCode: 422, want: []string{`spec.resources.limits[cpu]: Invalid value: "-1"`, "0 or more"},
		},
		{
			name: "a type of Service that is none", spec: `"image":"nginx","singlePodsQPS":800,"serviceType":"nodePort"`,
			wantCode: 422, want: []string{`spec.serviceType: Unsupported value: "nodePort"`, `"ClusterIP", "LoadBalancer", "NodePort"`},
		},
		{
			name: "a port without a node port", spec: `"image":"nginx","singlePodsQPS":800,"serviceType":"ClusterIP","port":30003`,
			wantCode: 422, want: []string{"spec.port: Forbidden", "remove it, or choose serviceType NodePort or LoadBalancer"},
		},
		{
			name: "a utilization that plans less than one query per second", spec: `"image":"nginx","singlePodsQPS":3,"targetUtilizationPercentage":33`,
			wantCode: 422, want: []string{"spec.targetUtilizationPercentage: Invalid value: 33: must be 34 or more with singlePodsQPS 3"},
		},
		{
			name: "limits that cross", spec: `"image":"nginx","singlePodsQPS":800,"minReplicas":3,"maxReplicas":2`,
			wantCode: 422, want: []string{"spec.minReplicas: Invalid value: 3: must be at most maxReplicas, 2"},
		},
		{
			name: "the app's image in the template", spec: `"image":"nginx","singlePodsQPS":800,"template":{"spec":{"containers":[{"name":"web","image":"httpd"}]}}`,
			wantCode: 422, want: []string{"spec.template.spec.containers[0].image: Forbidden: spec.image says it"},
		},
		{
			name: "all faults at once, declared and by hand",
			spec: `"singlePodsQPS":0,"totalQPS":-1,"port":80,"minReplicas":-1,"maxReplicas":0,"serviceType":"X","targetUtilizationPercentage":101,` +
				`"containerPort":-1,"servicePort":-1,"serviceAnnotations":{"a b":""},"template":{"spec":{"containers":[{"image":"a"}]}}`,
			wantCode: 422, want: []string{
				"spec.image", "spec.singlePodsQPS", "spec.totalQPS", "spec.port", "spec.minReplicas", "spec.maxReplicas", "spec.serviceType",
				"spec.targetUtilizationPercentage", "spec.containerPort", "spec.servicePort", "spec.serviceAnnotations", "spec.template.spec.containers[0].name",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			namespace := "bad-input"
			metadata := tt.metadata
			if metadata == "" {
				metadata = `"name":"web"`
			}
			body := `{"apiVersion":"elasticweb.example.com/v1","kind":"ElasticWeb","metadata":{` + metadata + `},"spec":{` + tt.spec + `}}`
			code, answer := request(t, http.MethodPost, collection(namespace)+"?fieldValidation=Strict", "application/json", "application/json", []byte(body))
			var status metav1.Status
			if err := json.Unmarshal(answer, &status); err != nil {
				t.Fatalf("the answer is no Status: %v: %s", err, answer)
			}
			if code != tt.wantCode {
				t.Errorf("status code %d, want %d: %s", code, tt.wantCode, status.Message)
			}
			for _, want := range tt.want {
				if !strings.Contains(status.Message, want) {
					t.Errorf("the message lacks %q: %s", want, status.Message)
				}
			}
			if n := stored(t, prefix+namespace, clientv3.WithPrefix(), clientv3.WithCountOnly()).Count; n != 0 {
				t.Errorf("%d objects were stored, want none", n)
			}
		})
	}
}
