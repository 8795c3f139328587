package validation

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"elasticweb.example.com/apis/elasticweb"
)

var nodePorts = utilnet.PortRange{Base: 30000, Size: 2768}

func valid() *elasticweb.ElasticWeb {
	return &elasticweb.ElasticWeb{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "dev", ResourceVersion: "1"},
		Spec: elasticweb.ElasticWebSpec{
			Image: "nginx:1.17.1", Port: ptr.To[int32](30003), ContainerPort: 80, ServicePort: 8080,
			SinglePodsQPS: ptr.To[int32](800), TotalQPS: ptr.To[int32](2400),
		},
	}
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
		{name: "negative request", change: func(w *elasticweb.ElasticWeb) { w.Spec.Resources = cpu("-1", "1") }, want: "spec.resources.requests[cpu]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			web := valid()
			tt.change(web)
			expect(t, ValidateElasticWeb(web, nodePorts), tt.want)
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
			expect(t, ValidateElasticWebUpdate(web, old, nodePorts), tt.want)
		})
	}
}

func TestValidateElasticWebUpdateJudgesTheSpec(t *testing.T) {
	web := valid()
	web.Spec.SinglePodsQPS = ptr.To[int32](0)
	expect(t, ValidateElasticWebUpdate(web, valid(), nodePorts), "spec.singlePodsQPS")
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
			expect(t, ValidateElasticWebStatusUpdate(web, valid()), tt.want)
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
