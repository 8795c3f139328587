package workload

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// The file is what the controller applies for a template that uses all that an overlay can do.
func TestOverlay(t *testing.T) {
	web := sample()
	web.Spec.Template = parse(t, `
metadata:
  labels: {tier: front, app.kubernetes.io/component: shop}
  annotations: {prometheus.io/scrape: "true"}
spec:
  terminationGracePeriodSeconds: 9007199254740993
  topologySpreadConstraints:
  - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {}}
  securityContext: {runAsNonRoot: true}
  initContainers:
  - {name: prepare, image: busybox}
  containers:
  - name: proxy
    image: envoy:1
    ports: [{containerPort: 80, protocol: UDP}]
  - name: web
    args: [--verbose]
    env: [{name: B, value: b}, {name: A, value: a}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    ports: [{name: quic, containerPort: 80, protocol: UDP}, {name: metrics, containerPort: 9090}]
    volumeMounts: [{name: scratch, mountPath: /scratch}]
    readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 2}
    securityContext: {readOnlyRootFilesystem: true}
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: labels, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - name: identity
    projected:
      sources:
      - {serviceAccountToken: {path: token}}
      - {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
`)
	golden(t, "deployment-overlay.yaml", deployment(t, web, 3))
}

// What is nowhere written changes nothing: not even an empty struct or list is laid over.
func TestAnEmptyTemplateChangesNothing(t *testing.T) {
	want := encode(t, deployment(t, sample(), 3))
	for _, template := range []string{`{}`, `{spec: {containers: []}}`, `{spec: {containers: [{name: web}]}}`, `{metadata: {labels: {}}, spec: {volumes: []}}`} {
		web := sample()
		web.Spec.Template = parse(t, template)
		if got := encode(t, deployment(t, web, 3)); !bytes.Equal(got, want) {
			t.Errorf("the template %s gives\n%s, want as without one\n%s", template, got, want)
		}
	}
}

func TestDefaultsGiveWay(t *testing.T) {
	tests := []struct {
		name, template string
		// has and lacks are parts of the encoded template.
		has, lacks []string
	}{
		{
			name: "no template", template: `{}`,
			has: []string{`"tcpSocket":{"port":"http"}`, `"seccompProfile":{"type":"RuntimeDefault"}`, `"allowPrivilegeEscalation":false`},
		},
		{
			name: "a probe replaces ours whole", template: `{spec: {containers: [{name: web, readinessProbe: {httpGet: {port: http}}}]}}`,
			has: []string{`"httpGet"`}, lacks: []string{`"tcpSocket"`},
		},
		{
			name: "another seccomp profile", template: `{spec: {securityContext: {seccompProfile: {type: Unconfined}}}}`,
			has: []string{`"seccompProfile":{"type":"Unconfined"}`}, lacks: []string{"RuntimeDefault"},
		},
		{
			name: "privilege escalation", template: `{spec: {containers: [{name: web, securityContext: {allowPrivilegeEscalation: true}}]}}`,
			has: []string{`"allowPrivilegeEscalation":true`},
		},
		{
			name: "a privileged app", template: `{spec: {containers: [{name: web, securityContext: {privileged: true}}]}}`,
			lacks: []string{"allowPrivilegeEscalation"},
		},
		{
			name: "CAP_SYS_ADMIN", template: `{spec: {containers: [{name: web, securityContext: {capabilities: {add: [CAP_SYS_ADMIN]}}}]}}`,
			lacks: []string{"allowPrivilegeEscalation"},
		},
		{
			name: "Windows", template: `{spec: {os: {name: windows}}}`,
			has: []string{"tcpSocket"}, lacks: []string{"allowPrivilegeEscalation", "seccompProfile"},
		},
		{
			name: "a container beside the app gets none of it", template: `{spec: {containers: [{name: proxy, image: envoy}]}}`,
			has: []string{`{"name":"proxy","image":"envoy"}`},
		},
		{
			name: "the app comes first if the template does not name it", template: `{spec: {containers: [{name: a, image: a}]}}`,
			has: []string{`"containers":[{"name":"web"`},
		},
		{
			name: "a port's protocol is part of its key", template: `{spec: {containers: [{name: a, image: a, ports: [{containerPort: 1}]}]}}`,
			has: []string{`{"containerPort":1,"protocol":"TCP"}`},
		},
		{
			name: "the selector stays", template: `{metadata: {labels: {elasticweb.example.com/name: other}}}`,
			has: []string{`"elasticweb.example.com/name":"elasticweb-sample"`}, lacks: []string{"other"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			web := sample()
			web.Spec.Template = parse(t, tt.template)
			got := string(encode(t, deployment(t, web, 3).Spec.Template))
			for _, part := range tt.has {
				if !strings.Contains(got, part) {
					t.Errorf("the template lacks %s: %s", part, got)
				}
			}
			for _, part := range tt.lacks {
				if strings.Contains(got, part) {
					t.Errorf("the template has %s: %s", part, got)
				}
			}
		})
	}
}

// The list of structs that the encoding writes when they are absent is complete.
func TestPruneKnowsEveryStruct(t *testing.T) {
	// What nothing is without: an item of a list that consists of a weight and it.
	required := map[string]bool{"preference": true, "podAffinityTerm": true}
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(kind reflect.Type) {
		for kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice || kind.Kind() == reflect.Map {
			kind = kind.Elem()
		}
		if kind.Kind() != reflect.Struct || seen[kind] {
			return
		}
		seen[kind] = true
		for i := range kind.NumField() {
			field := kind.Field(i)
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			_, writesItself := reflect.New(field.Type).Interface().(json.Marshaler)
			if field.Type.Kind() == reflect.Struct && name != "" && !writesItself && !strings.Contains(options, "omitzero") && !encodedWhenAbsent[name] && !required[name] {
				t.Errorf("%s.%s is a struct that prune does not know", kind, field.Name)
			}
			visit(field.Type)
		}
	}
	visit(reflect.TypeFor[corev1.PodTemplateSpec]())
	if len(seen) < 50 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}

func TestService(t *testing.T) {
	web := sample()
	web.Spec.ServiceType, web.Spec.Port = v1.ServiceTypeLoadBalancer, nil
	web.Spec.ServiceAnnotations = map[string]string{"example.com/lb": "internal"}
	service := Service(web)
	if *service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.Annotations["example.com/lb"] != "internal" {
		t.Errorf("type, annotations = %s, %v", *service.Spec.Type, service.Annotations)
	}
}

// Whatever passes for a template neither panics nor lets go of the app, its port and its selector, and the same input gives the
// same bytes.
func FuzzOverlay(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"metadata":{"labels":{"$patch":"replace"}}}`, `{"metadata":{"annotations":{"$patch":"delete"}}}`,
		`{"spec":{"containers":[{"name":"web","env":[{"name":"A"},{"name":"A"}]},{"name":"b","image":"b"}]}}`,
		`{"spec":{"containers":[{"name":"web","ports":[{"containerPort":1,"hostPort":2,"hostIP":"::1"}]}],"nodeSelector":{"$patch":"x"}}}`,
		`{"spec":{"volumes":[{"name":"a","ephemeral":{"volumeClaimTemplate":{"spec":{"resources":{"requests":{"storage":"1e3"}}}}}}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		template := &corev1.PodTemplateSpec{}
		if json.Unmarshal(data, template) != nil {
			return
		}
		web := sample()
		web.Spec.Template = template
		before := encode(t, web)
		first, err := Deployment(web, 3, 10*time.Minute)
		if err != nil {
			return
		}
		if !bytes.Equal(before, encode(t, web)) {
			t.Fatal("the ElasticWeb was changed")
		}
		pod := first.Spec.Template
		if pod.Labels[v1.NameLabel] != web.Name {
			t.Fatalf("the selector's label is %q", pod.Labels[v1.NameLabel])
		}
		if port := app(pod.Spec).Ports[0]; *port.Name != v1.PortName || *port.ContainerPort != 80 {
			t.Fatalf("the app's first port is %s %d", *port.Name, *port.ContainerPort)
		}
		again, err := Deployment(web.DeepCopy(), 3, 10*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encode(t, first), encode(t, again)) {
			t.Fatal("the same ElasticWeb gave other bytes")
		}
	})
}

func BenchmarkDeployment(b *testing.B) {
	plain, overlaid := sample(), sample()
	overlaid.Spec.Template = &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"tier": "front"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "web", Env: []corev1.EnvVar{{Name: "A", Value: "a"}}},
			{Name: "proxy", Image: "envoy:1", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}}},
		}, TerminationGracePeriodSeconds: ptr.To[int64](60)},
	}
	for name, web := range map[string]*v1.ElasticWeb{"plain": plain, "overlay": overlaid} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				deployment(b, web, 3)
			}
		})
	}
}

func parse(t *testing.T, template string) *corev1.PodTemplateSpec {
	t.Helper()
	parsed := &corev1.PodTemplateSpec{}
	if err := yaml.UnmarshalStrict([]byte(template), parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}
