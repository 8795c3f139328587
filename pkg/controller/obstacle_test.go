package controller

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestRefusal(t *testing.T) {
	services := corev1.Resource("services")
	forbidden := func(text string) error { return apierrors.NewForbidden(services, "web", errors.New(text)) }
	invalid := func(path string) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "web", field.ErrorList{field.Invalid(field.NewPath(path), 1, "no")})
	}
	terminating := apierrors.NewForbidden(services, "web", errors.New("namespace is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}

	tests := []struct {
		name, kind string
		err        error
		// want is the reason, or "retry", or "changed".
		want string
	}{
		{"the namespace is going", "Service", terminating, "changed"},
		{"quota", "Service", forbidden("exceeded quota: q, requested: count/services=1"), "QuotaExceeded"},
		{"quota that wants more said", "Deployment", forbidden("failed quota: q: must specify limits.cpu"), "QuotaExceeded"},
		{"quota that is new", "Service", forbidden("status unknown for quota: q"), "retry"},
		{"admission that has just started", "Service", forbidden("not yet ready to handle request"), "retry"},
		{"a policy", "Deployment", forbidden("ValidatingAdmissionPolicy 'p' denied request"), "Rejected"},
		{"a policy that calls it invalid", "Deployment", apierrors.NewInvalid(schema.GroupKind{Kind: "Deployment"}, "web", field.ErrorList{
			field.Invalid(nil, nil, "ValidatingAdmissionPolicy 'p' denied request")}), "Rejected"},
		{"no right to", "Deployment", forbidden("User \"x\" cannot patch"), "Forbidden"},
		{"a port that is taken", "Service", invalid("spec.ports[0].nodePort"), "NodePortUnavailable"},
		{"no port left", "Service", apierrors.NewInternalError(errors.New("failed to allocate a nodePort: range is full")), "NodePortUnavailable"},
		{"another fault of a Service", "Service", invalid("spec.type"), "Invalid"},
		{"a fault of a Deployment", "Deployment", invalid("spec.template.spec"), "InvalidTemplate"},
		{"a webhook without a reason", "Deployment", apierrors.NewBadRequest(`admission webhook "w" denied the request`), "Rejected"},
		{"the host is away", "Service", apierrors.NewServiceUnavailable("away"), "retry"},
		{"the host is busy", "Service", apierrors.NewTooManyRequests("busy", 1), "retry"},
		{"another error of the host", "Service", apierrors.NewInternalError(errors.New("etcd")), "retry"},
		{"no answer", "Service", errors.New("connection refused"), "retry"},
		{"too large", "Deployment", apierrors.NewRequestEntityTooLargeError("3 MiB"), "Rejected"},
		{"no such kind", "Deployment", apierrors.NewGenericServerResponse(http.StatusNotFound, "patch", services, "web", "", 0, true), "retry"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := refusal(tt.kind, tt.err)
			got := "retry"
			var o *obstacle
			switch {
			case errors.As(err, &o):
				got = o.reason
			case errors.Is(err, errChanged):
				got = "changed"
			}
			if got != tt.want {
				t.Errorf("%v is %s, want %s", tt.err, got, tt.want)
			}
		})
	}
}

func TestAnObstaclesMessageIsBounded(t *testing.T) {
	o := newObstacle("Invalid", strings.Repeat("é", 40_000))
	if len(o.message) > 2*maxMessage || !strings.HasSuffix(o.message, "é…") {
		t.Errorf("a message of %d bytes that ends in %q", len(o.message), o.message[len(o.message)-8:])
	}
}
