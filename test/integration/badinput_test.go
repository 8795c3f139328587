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
			wantCode: 422, want: []string{"spec.image: Required value", "OCI image reference"},
		},
		{
			name: "an image that is none", spec: `"image":"nginx latest","singlePodsQPS":800`,
			wantCode: 422, want: []string{`spec.image: Invalid value: "nginx latest"`, "OCI image reference"},
		},
		{
			name: "no singlePodsQPS", spec: `"image":"nginx"`,
			wantCode: 422, want: []string{"spec.singlePodsQPS: Required value", "1 or more"},
		},
		{
			name: "singlePodsQPS 0", spec: `"image":"nginx","singlePodsQPS":0`,
			wantCode: 422, want: []string{"spec.singlePodsQPS: Invalid value: 0", "1 or more"},
		},
		{
			name: "a negative totalQPS", spec: `"image":"nginx","singlePodsQPS":800,"totalQPS":-1`,
			wantCode: 422, want: []string{"spec.totalQPS: Invalid value: -1", "0 or more"},
		},
		{
			name: "port 80", spec: `"image":"nginx","singlePodsQPS":800,"port":80`,
			wantCode: 422, want: []string{"spec.port: Invalid value: 80", "30000-32767", "--service-node-port-range"},
		},
		{
			name: "a containerPort beyond all ports", spec: `"image":"nginx","singlePodsQPS":800,"containerPort":65536`,
			wantCode: 422, want: []string{"spec.containerPort: Invalid value: 65536", "between 1 and 65535"},
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
			name: "all faults at once", spec: `"singlePodsQPS":0,"totalQPS":-1,"port":80`,
			wantCode: 422, want: []string{"spec.image", "spec.singlePodsQPS", "spec.totalQPS", "spec.port"},
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
