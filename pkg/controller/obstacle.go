package controller

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// obstacle is what keeps a child from becoming as wanted, in the words of the status.
type obstacle struct {
	reason, message string
	// passing: it goes by itself, so the object is Reconciling and not Stalled. (GitOps tools give up on Stalled.)
	passing bool
}

func (o *obstacle) Error() string { return o.reason + ": " + o.message }

// maxMessage is the length to which the message of another party is cut, in bytes. The API refuses conditions with longer
// ones than 32 KiB, and nobody reads them.
const maxMessage = 1024

func newObstacle(reason, message string) *obstacle {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return &obstacle{reason: reason, message: message}
}

// refusal turns the cluster's answer to the write of a child into an obstacle, if it is one that lasts until somebody acts.
func refusal(kind string, err error) error {
	stalled := func(reason string) error {
		return newObstacle(reason, fmt.Sprintf("the cluster refused the %s: %v", kind, err))
	}
	says := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(err.Error(), part) })
	}
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errChanged
	// Admission that has not caught up answers 403, too, and soon answers something else.
	case apierrors.IsForbidden(err) && says("not yet ready to handle request", "status unknown for quota"):
		return fmt.Errorf("apply the %s: %w", kind, err)
	case apierrors.IsForbidden(err) && says("exceeded quota", "failed quota", "insufficient quota"):
		return stalled("QuotaExceeded")
	// Policies and webhooks choose the code of their refusal, 422 unless told otherwise: it would pass for a fault of the template.
	case says("denied request", "denied the request"):
		return stalled("Rejected")
	case apierrors.IsForbidden(err):
		return stalled("Forbidden")
	// The allocator answers 422 for a port that is taken or out of range, and 500 when it has none left.
	case kind == "Service" && (concernsNodePort(err) || apierrors.IsInternalError(err) && says("failed to allocate a nodePort")):
		return stalled("NodePortUnavailable")
	case apierrors.IsInvalid(err) && kind == "Deployment":
		return stalled("InvalidTemplate")
	case apierrors.IsInvalid(err):
		return stalled("Invalid")
	// Apply tells list items by their keys. Two with the same, or one without, it answers with a 500.
	case says("failed to create typed patch object") && kind == "Deployment":
		return stalled("InvalidTemplate")
	case apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return stalled("Rejected")
	default:
		return fmt.Errorf("apply the %s: %w", kind, err)
	}
}

func concernsNodePort(err error) bool {
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		return false
	}
	for _, cause := range status.Status().Details.Causes {
		if cause.Type == metav1.CauseTypeFieldValueInvalid && strings.HasSuffix(cause.Field, "nodePort") {
			return true
		}
	}
	return false
}

// ofOurKind says whether an owner is an ElasticWeb, of any version.
func ofOurKind(owner *metav1.OwnerReference) bool {
	gv, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && gv.Group == v1.GroupName && owner.Kind == "ElasticWeb"
}
