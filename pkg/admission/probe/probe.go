package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/client-go/metadata"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

// FlowControl stands, among the names of plugins, for API priority and fairness. It protects us, and decides nothing: it may
// be off for want of a right.
const FlowControl = "PriorityAndFairness"

// needs are the APIs of the host that a plugin follows. A plugin whose informers cannot list them refuses every write.
var needs = []struct {
	plugin    string
	resources []schema.GroupVersionResource
}{
	{mutating.PluginName, registrations("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")},
	{mutatingwebhook.PluginName, registrations("mutatingwebhookconfigurations")},
	{validating.PluginName, registrations("validatingadmissionpolicies", "validatingadmissionpolicybindings")},
	{validatingwebhook.PluginName, registrations("validatingwebhookconfigurations")},
	{resourcequota.PluginName, []schema.GroupVersionResource{{Version: "v1", Resource: "resourcequotas"}}},
	{FlowControl, []schema.GroupVersionResource{
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Resource: "flowschemas"},
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Resource: "prioritylevelconfigurations"},
	}},
}

func registrations(resources ...string) (all []schema.GroupVersionResource) {
	for _, resource := range resources {
		all = append(all, schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource})
	}
	return all
}

var off = metrics.NewGaugeVec(&metrics.GaugeOpts{
	Namespace: "elasticweb", Subsystem: "admission", Name: "plugin_off",
	Help:           "1 for each admission plugin that is off because the host cluster does not serve its API (reason not_served), or does not let us read it (reason forbidden; only PriorityAndFairness).",
	StabilityLevel: metrics.ALPHA,
}, []string{"plugin", "reason"})

func init() { utilruntime.Must(legacyregistry.Register(off)) }

// Run lists one object of each API that a wanted plugin follows, and returns the plugins to switch off, with the reason: not_served,
// or forbidden. An error says that it is not decided: the host did not answer, or it forbids what a plugin must
// know, and then names the missing right. Policies must not fail open for want of a rule.
func Run(ctx context.Context, client metadata.Interface, wanted func(plugin string) bool) (reasons map[string]string, err error) {
	reasons = map[string]string{}
	var missing []error
	for _, need := range needs {
		if !wanted(need.plugin) {
			continue
		}
		for _, resource := range need.resources {
			_, err := client.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
			switch {
			case err == nil:
			case apierrors.IsNotFound(err):
				reasons[need.plugin] = "not_served"
			case apierrors.IsForbidden(err) && need.plugin == FlowControl:
				reasons[need.plugin] = "forbidden"
			case apierrors.IsForbidden(err):
				missing = append(missing, fmt.Errorf("the server's ServiceAccount may not list %s, which %s must know: grant it list and watch, as artifacts/deploy does, or switch the plugin off with --disable-admission-plugins=%s",
					resource.GroupResource(), need.plugin, need.plugin))
			default:
				return nil, fmt.Errorf("list %s: %w", resource.GroupResource(), err)
			}
		}
	}
	if err := errors.Join(missing...); err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return reasons, nil
}

// SwitchedOff says, in the log and in a metric, that a plugin is off, and for which reason of Run.
func SwitchedOff(ctx context.Context, plugin, reason string) {
	off.WithLabelValues(plugin, reason).Set(1)
	klog.FromContext(ctx).Info("Warning: a plugin is off, since the host cluster does not serve its API, or does not let us read it", "plugin", plugin, "reason", reason)
}
