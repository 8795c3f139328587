package controller

import (
	"fmt"
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

// refusal turns the cluster's answer to the write of a child into an obstacle, if it is one that lasts until somebody acts.
func refusal(kind string, err error) error {
	stalled := func(reason string) error {
		return &obstacle{reason: reason, message: fmt.Sprintf("the cluster refused the %s: %v", kind, err)}
	}
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errNotYetSeen
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		return stalled("QuotaExceeded")
	case apierrors.IsForbidden(err):
		return stalled("Forbidden")
	case apierrors.IsInvalid(err) && kind == "Service" && concernsNodePort(err):
		return stalled("NodePortUnavailable")
	case apierrors.IsInvalid(err) && kind == "Deployment":
		return stalled("InvalidTemplate")
	case apierrors.IsInvalid(err):
		return stalled("Invalid")
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

// ofOurGroup says whether an owner reference's apiVersion is a version of our API.
func ofOurGroup(apiVersion string) bool {
	gv, err := schema.ParseGroupVersion(apiVersion)
	return err == nil && gv.Group == v1.GroupName
}
