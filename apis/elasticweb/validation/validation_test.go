package validation

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"elasticweb.example.com/apis/elasticweb"
	"elasticweb.example.com/apis/elasticweb/install"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

var nodePorts = utilnet.PortRange{Base: 30000, Size: 2768}

func valid() *elasticweb.ElasticWeb {
	return &elasticweb.ElasticWeb{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "dev", ResourceVersion: "1"},
		Spec: elasticweb.ElasticWebSpec{
			Image: "nginx:1.17.1", Port: ptr.To[int32](30003), ContainerPort: 80, ServicePort: 8080,
			SinglePodsQPS: ptr.To[int32](800), TotalQPS: ptr.To[int32](2400),
			TargetUtilizationPercentage: ptr.To[int32](100), MinReplicas: ptr.To[int32](0), ServiceType: elasticweb.ServiceTypeNodePort,
		},
	}
}

var scheme = runtime.NewScheme()

func init() { install.Install(scheme) }

// faults are all that an object is refused for: what the types declare, and what is checked by hand. old is nil for a new one.
func faults(t *testing.T, web, old *elasticweb.ElasticWeb, byHand field.ErrorList, subresources ...string) field.ErrorList {
	t.Helper()
	wire := func(web *elasticweb.ElasticWeb) runtime.Object {
		object, err := scheme.ConvertToVersion(web, v1.SchemeGroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		return object
	}
	if old == nil {
		return append(byHand, scheme.Validate(t.Context(), nil, wire(web), subresources...)...)
	}
	return append(byHand, scheme.ValidateUpdate(t.Context(), nil, wire(web), wire(old), subresources...)...)
}

func app(change func(*corev1.Container)) *corev1.PodTemplateSpec {
	container := corev1.Container{Name: "web"}
	change(&container)
	return &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{container}}}
}

func TestValidateElasticWeb(t *testing.T) {
	tests := []struct {
		name   string
		change func(*elasticweb.ElasticWeb)
		// want is the field that is at fault, or empty.
		want string
	}{
		{name: "the sample", change: func(*elasticweb.ElasticWeb) {}},
		{name: "no port", change: func(w *elasticweb.ElasticWeb) { w.Spec.Port = nil }},
		{name: "first port", change: func(w *elasticweb.ElasticWeb) { w.Spec.Port = ptr.To[int32](30000) }},
		{name: "last port", change: func(w *elasticweb.ElasticWeb) { w.Spec.Port = ptr.To[int32](32767) }},
		{name: "below the range", change: func(w *elasticweb.ElasticWeb) { w.Spec.Port = ptr.To[int32](29999) }, want: "spec.port"},
		{name: "above the range", change: func(w *elasticweb.ElasticWeb) { w.Spec.Port = ptr.To[int32](32768) }, want: "spec.port"},
		{name: "port 0", change: func(w *elasticweb.ElasticWeb) { w.Spec.Port = ptr.To[int32](0) }, want: "spec.port"},
		{name: "no demand", change: func(w *elasticweb.ElasticWeb) { w.Spec.TotalQPS = ptr.To[int32](0) }},
		{name: "negative demand", change: func(w *elasticweb.ElasticWeb) { w.Spec.TotalQPS = ptr.To[int32](-1) }, want: "spec.totalQPS"},
		{name: "no singlePodsQPS", change: func(w *elasticweb.ElasticWeb) { w.Spec.SinglePodsQPS = nil }, want: "spec.singlePodsQPS"},
		{name: "singlePodsQPS 0", change: func(w *elasticweb.ElasticWeb) { w.Spec.SinglePodsQPS = ptr.To[int32](0) }, want: "spec.singlePodsQPS"},
		{name: "negative singlePodsQPS", change: func(w *elasticweb.ElasticWeb) { w.Spec.SinglePodsQPS = ptr.To[int32](-1) }, want: "spec.singlePodsQPS"},
		{name: "no image", change: func(w *elasticweb.ElasticWeb) { w.Spec.Image = "" }, want: "spec.image"},
		{name: "image by digest", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Image = "registry.example.com:5000/team/web@sha256:" + strings.Repeat("a", 64)
		}},
		{name: "image with blanks", change: func(w *elasticweb.ElasticWeb) { w.Spec.Image = " nginx" }, want: "spec.image"},
		{name: "image in capitals", change: func(w *elasticweb.ElasticWeb) { w.Spec.Image = "Nginx" }, want: "spec.image"},
		{name: "containerPort 0", change: func(w *elasticweb.ElasticWeb) { w.Spec.ContainerPort = 0 }, want: "spec.containerPort"},
		{name: "containerPort 65535", change: func(w *elasticweb.ElasticWeb) { w.Spec.ContainerPort = 65535 }},
		{name: "servicePort 65536", change: func(w *elasticweb.ElasticWeb) { w.Spec.ServicePort = 65536 }, want: "spec.servicePort"},
		{name: "name of 63 characters", change: func(w *elasticweb.ElasticWeb) { w.Name = strings.Repeat("a", 63) }},
		{name: "name of 64 characters", change: func(w *elasticweb.ElasticWeb) { w.Name = strings.Repeat("a", 64) }, want: "metadata.name"},
		{name: "name with a dot", change: func(w *elasticweb.ElasticWeb) { w.Name = "a.b" }, want: "metadata.name"},
		{name: "name that begins with a digit", change: func(w *elasticweb.ElasticWeb) { w.Name = "1a" }, want: "metadata.name"},
		{name: "no resources", change: func(w *elasticweb.ElasticWeb) { w.Spec.Resources = &corev1.ResourceRequirements{} }},
		{name: "request at its limit", change: func(w *elasticweb.ElasticWeb) { w.Spec.Resources = cpu("1", "1000m") }},
		{name: "request above its limit", change: func(w *elasticweb.ElasticWeb) { w.Spec.Resources = cpu("1001m", "1") }, want: "spec.resources.requests[cpu]"},
		{name: "a claim twice", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Resources = &corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "a"}, {Name: "b"}, {Name: "a"}}}
		}, want: "spec.resources.claims[2].name"},
		{name: "utilization 0", change: func(w *elasticweb.ElasticWeb) { w.Spec.TargetUtilizationPercentage = ptr.To[int32](0) }, want: "spec.targetUtilizationPercentage"},
		{name: "utilization 1", change: func(w *elasticweb.ElasticWeb) { w.Spec.TargetUtilizationPercentage = ptr.To[int32](1) }},
		{name: "utilization 101", change: func(w *elasticweb.ElasticWeb) { w.Spec.TargetUtilizationPercentage = ptr.To[int32](101) }, want: "spec.targetUtilizationPercentage"},
		{name: "less than one query per second for a Pod", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.SinglePodsQPS, w.Spec.TargetUtilizationPercentage = ptr.To[int32](2), ptr.To[int32](49)
		}, want: "spec.targetUtilizationPercentage"},
		{name: "one query per second for a Pod", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.SinglePodsQPS, w.Spec.TargetUtilizationPercentage = ptr.To[int32](2), ptr.To[int32](50)
		}},
		{name: "negative minReplicas", change: func(w *elasticweb.ElasticWeb) { w.Spec.MinReplicas = ptr.To[int32](-1) }, want: "spec.minReplicas"},
		{name: "maxReplicas 0", change: func(w *elasticweb.ElasticWeb) { w.Spec.MaxReplicas = ptr.To[int32](0) }, want: "spec.maxReplicas"},
		{name: "minReplicas at maxReplicas", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.MinReplicas, w.Spec.MaxReplicas = ptr.To[int32](5), ptr.To[int32](5)
		}},
		{name: "minReplicas above maxReplicas", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.MinReplicas, w.Spec.MaxReplicas = ptr.To[int32](6), ptr.To[int32](5)
		}, want: "spec.minReplicas"},
		{name: "LoadBalancer", change: func(w *elasticweb.ElasticWeb) { w.Spec.ServiceType = elasticweb.ServiceTypeLoadBalancer }},
		{name: "ClusterIP with a port", change: func(w *elasticweb.ElasticWeb) { w.Spec.ServiceType = elasticweb.ServiceTypeClusterIP }, want: "spec.port"},
		{name: "ClusterIP without a port", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.ServiceType, w.Spec.Port = elasticweb.ServiceTypeClusterIP, nil
		}},
		{name: "ExternalName", change: func(w *elasticweb.ElasticWeb) { w.Spec.ServiceType = "ExternalName" }, want: "spec.serviceType"},
		{name: "annotations", change: func(w *elasticweb.ElasticWeb) { w.Spec.ServiceAnnotations = map[string]string{"example.com/a": "b c"} }},
		{name: "an annotation with a bad key", change: func(w *elasticweb.ElasticWeb) { w.Spec.ServiceAnnotations = map[string]string{"a b": "c"} }, want: "spec.serviceAnnotations"},
		{name: "annotations of 256 KiB and more", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.ServiceAnnotations = map[string]string{"a": strings.Repeat("b", 256<<10)}
		}, want: "spec.serviceAnnotations"},
		{name: "an empty template", change: func(w *elasticweb.ElasticWeb) { w.Spec.Template = &corev1.PodTemplateSpec{} }},
		{name: "a template without the app", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) { c.Name, c.Image = "beside", "envoy" })
		}},
		{name: "the app's environment", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "A", Value: "b"}} })
		}},
		{name: "the app's image", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) { c.Image = "httpd" })
		}, want: "spec.template.spec.containers[0].image"},
		{name: "the app's resources", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) { c.Resources = *cpu("1", "1") })
		}, want: "spec.template.spec.containers[0].resources"},
		{name: "a port named http", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 81}} })
		}, want: "spec.template.spec.containers[0].ports[0].name"},
		{name: "a port named http beside the app", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) {
				c.Name, c.Ports = "proxy", []corev1.ContainerPort{{Name: "http", ContainerPort: 10000}}
			})
		}, want: "spec.template.spec.containers[0].ports[0].name"},
		{name: "a port named http before the app", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{InitContainers: []corev1.Container{
				{Name: "proxy", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 10000}}},
			}}}
		}, want: "spec.template.spec.initContainers[0].ports[0].name"},
		{name: "the port a second time", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{Name: "again", ContainerPort: 80}} })
		}, want: "spec.template.spec.containers[0].ports[0].containerPort"},
		{name: "the port with another protocol", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) {
				c.Ports = []corev1.ContainerPort{{Name: "quic", ContainerPort: 80, Protocol: corev1.ProtocolUDP}}
			})
		}},
		{name: "a container without a name", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) { c.Name = "" })
		}, want: "spec.template.spec.containers[0].name"},
		{name: "two containers of a name", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(*corev1.Container) {})
			w.Spec.Template.Spec.Containers = append(w.Spec.Template.Spec.Containers, w.Spec.Template.Spec.Containers[0])
		}, want: "spec.template.spec.containers[1].name"},
		{name: "the selector's label", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1.NameLabel: "other"}}}
		}, want: "spec.template.metadata.labels[elasticweb.example.com/name]"},
		{name: "a bad label", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"$patch": "replace"}}}
		}, want: "spec.template.metadata.labels"},
		{name: "a bad annotation", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"$patch": "replace"}}}
		}, want: "spec.template.metadata.annotations"},
		{name: "negative request", change: func(w *elasticweb.ElasticWeb) { w.Spec.Resources = cpu("-1", "1") }, want: "spec.resources.requests[cpu]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			web := valid()
			tt.change(web)
			expect(t, faults(t, web, nil, ValidateElasticWeb(web, nodePorts)), tt.want)
		})
	}
}

func TestValidateElasticWebUpdateJudgesThePortOnlyWhenItChanges(t *testing.T) {
	tests := []struct {
		name     string
		old, new *int32
		want     string
	}{
		{name: "a stored port outside the range stays editable", old: ptr.To[int32](80), new: ptr.To[int32](80)},
		{name: "it may be removed", old: ptr.To[int32](80), new: nil},
		{name: "it may be mended", old: ptr.To[int32](80), new: ptr.To[int32](30000)},
		{name: "it may not be changed to another one outside", old: ptr.To[int32](80), new: ptr.To[int32](81), want: "spec.port"},
		{name: "none may be set outside", old: nil, new: ptr.To[int32](80), want: "spec.port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			old, web := valid(), valid()
			old.Spec.Port, web.Spec.Port = tt.old, tt.new
			expect(t, faults(t, web, old, ValidateElasticWebUpdate(web, old, nodePorts)), tt.want)
		})
	}
}

func TestValidateElasticWebUpdateJudgesTheSpec(t *testing.T) {
	web := valid()
	web.Spec.SinglePodsQPS = ptr.To[int32](0)
	expect(t, faults(t, web, valid(), ValidateElasticWebUpdate(web, valid(), nodePorts)), "spec.singlePodsQPS")
}

func TestValidateElasticWebStatusUpdate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*elasticweb.ElasticWebStatus)
		want   string
	}{
		{name: "empty", change: func(*elasticweb.ElasticWebStatus) {}},
		{name: "negative replicas", change: func(s *elasticweb.ElasticWebStatus) { s.Replicas = -1 }, want: "status.replicas"},
		{name: "negative realQPS", change: func(s *elasticweb.ElasticWebStatus) { s.RealQPS = ptr.To[int64](-1) }, want: "status.realQPS"},
		{name: "negative nodePort", change: func(s *elasticweb.ElasticWebStatus) { s.NodePort = -1 }, want: "status.nodePort"},
		{name: "a condition without a reason", change: func(s *elasticweb.ElasticWebStatus) {
			s.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		}, want: "status.conditions[0].reason"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			web := valid()
			tt.change(&web.Status)
			expect(t, faults(t, web, valid(), ValidateElasticWebStatusUpdate(web, valid()), "status"), tt.want)
		})
	}
}

func cpu(request, limit string) *corev1.ResourceRequirements {
	return &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(request)},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(limit)},
	}
}

// expect wants no error, or exactly one, on the field.
func expect(t *testing.T, errs field.ErrorList, want string) {
	t.Helper()
	switch {
	case want == "" && len(errs) > 0:
		t.Errorf("errors %v, want none", errs)
	case want != "" && (len(errs) != 1 || errs[0].Field != want):
		t.Errorf("errors %v, want one on %s", errs, want)
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name   string
		change func(*elasticweb.ElasticWeb)
		// want begins the warning, or is empty.
		want string
	}{
		{name: "the sample", change: func(*elasticweb.ElasticWeb) {}},
		{name: "no tag", change: func(w *elasticweb.ElasticWeb) { w.Spec.Image = "nginx" }, want: `spec.image: "nginx"`},
		{name: "no tag, but a port", change: func(w *elasticweb.ElasticWeb) { w.Spec.Image = "localhost:5000/nginx" }, want: "spec.image: "},
		{name: "latest", change: func(w *elasticweb.ElasticWeb) { w.Spec.Image = "nginx:latest" }, want: "spec.image: "},
		{name: "a digest", change: func(w *elasticweb.ElasticWeb) { w.Spec.Image = "nginx@sha256:" + strings.Repeat("a", 64) }},
		{name: "latest with a digest", change: func(w *elasticweb.ElasticWeb) { w.Spec.Image = "nginx:latest@sha256:" + strings.Repeat("a", 64) }},
		{name: "a template without containers", change: func(w *elasticweb.ElasticWeb) { w.Spec.Template = &corev1.PodTemplateSpec{} }},
		{name: "the app in the template", change: func(w *elasticweb.ElasticWeb) { w.Spec.Template = app(func(*corev1.Container) {}) }},
		{name: "only others in the template", change: func(w *elasticweb.ElasticWeb) {
			w.Spec.Template = app(func(c *corev1.Container) { c.Name = "nginx" })
		}, want: "spec.template.spec.containers: "},
		{name: "maxReplicas carries it", change: func(w *elasticweb.ElasticWeb) { w.Spec.MaxReplicas = ptr.To[int32](3) }},
		{name: "a stored one without totalQPS", change: func(w *elasticweb.ElasticWeb) { w.Spec.MaxReplicas, w.Spec.TotalQPS = ptr.To[int32](2), nil }},
		{name: "maxReplicas does not", change: func(w *elasticweb.ElasticWeb) { w.Spec.MaxReplicas = ptr.To[int32](2) }, want: "spec.maxReplicas: 2 Pods"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			web := valid()
			tt.change(web)
			got := Warnings(web)
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], tt.want)) {
				t.Errorf("warnings %q, want one that begins with %q", got, tt.want)
			}
		})
	}
}
