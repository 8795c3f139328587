package elasticweb

import (
	"context"
	"fmt"
	"strconv"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

const unknown = "<unknown>"

// columns are what kubectl prints, in order; priority 1 is shown with -o wide only.
var columns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "The name of the ElasticWeb."},
	{Name: "Image", Type: "string", Description: "The container image."},
	{Name: "Total-QPS", Type: "string", Description: "The queries per second that the service must take."},
	{Name: "Real-QPS", Type: "string", Description: "The queries per second that the ready Pods take: singlePodsQPS × readyReplicas."},
	{Name: "Ready", Type: "string", Description: "Pods that are ready / Pods that are desired."},
	{Name: "Status", Type: "string", Description: "Terminating, Paused, Stalled, Scaling, Updating, Ready or Unknown."},
	{Name: "Age", Type: "string", Description: "The time since the object was created."},
	{Name: "Port", Type: "string", Priority: 1, Description: "The port on every node, as the Service holds it."},
	{Name: "QPS-Per-Pod", Type: "string", Priority: 1, Description: "The queries per second that one Pod can take."},
	{Name: "Container-Port", Type: "integer", Priority: 1, Description: "The port on which the container listens."},
	{Name: "Reason", Type: "string", Priority: 1, Description: "The reason of the condition that Status shows."},
	{Name: "Selector", Type: "string", Priority: 1, Description: "The label selector of the Pods."},
}

// tableConvertor prints ElasticWebs as rows of columns.
type tableConvertor struct{}

var _ rest.TableConvertor = tableConvertor{}

// ConvertToTable turns an ElasticWeb, or a list of them, into a table.
func (tableConvertor) ConvertToTable(_ context.Context, object, options runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if opt, ok := options.(*metav1.TableOptions); !ok || !opt.NoHeaders {
		table.ColumnDefinitions = columns
	}
	if list, err := apimeta.ListAccessor(object); err == nil {
		table.ResourceVersion = list.GetResourceVersion()
		table.Continue = list.GetContinue()
		table.RemainingItemCount = list.GetRemainingItemCount()
	} else if single, err := apimeta.CommonAccessor(object); err == nil {
		table.ResourceVersion = single.GetResourceVersion()
	}
	var err error
	table.Rows, err = metatable.MetaToTableRow(object, func(obj runtime.Object, m metav1.Object, name, _ string) ([]any, error) {
		web, ok := obj.(*elasticweb.ElasticWeb)
		if !ok {
			return nil, fmt.Errorf("not an ElasticWeb: %T", obj)
		}
		return cells(web), nil
	})
	return table, err
}

func cells(web *elasticweb.ElasticWeb) []any {
	spec, status := &web.Spec, &web.Status
	word, reason := summary(web)

	ready := unknown
	if status.RealQPS != nil {
		ready = fmt.Sprintf("%d/%d", status.ReadyReplicas, status.DesiredReplicas)
	}
	port := unknown
	if status.NodePort != 0 {
		port = strconv.Itoa(int(status.NodePort))
	}
	age := unknown
	if !web.CreationTimestamp.IsZero() {
		age = metatable.ConvertToHumanReadableDateType(web.CreationTimestamp)
	}
	return []any{
		web.Name, spec.Image, number(spec.TotalQPS), number(status.RealQPS), ready, word, age,
		port, number(spec.SinglePodsQPS), int64(spec.ContainerPort), reason, status.Selector,
	}
}

func number[T int32 | int64](value *T) string {
	if value == nil {
		return unknown
	}
	return strconv.FormatInt(int64(*value), 10)
}

// summary is the state of the object in a word, and the reason of the condition that the word comes from.
func summary(web *elasticweb.ElasticWeb) (word, reason string) {
	status := &web.Status
	ready := apimeta.FindStatusCondition(status.Conditions, v1.ConditionReady)
	if ready != nil {
		reason = ready.Reason
	}
	stalled := apimeta.FindStatusCondition(status.Conditions, v1.ConditionStalled)
	switch {
	case web.DeletionTimestamp != nil:
		return "Terminating", reason
	case web.Spec.Paused:
		return "Paused", reason
	case stalled != nil && stalled.Status == metav1.ConditionTrue:
		return "Stalled", stalled.Reason
	case status.RealQPS == nil:
		return "Unknown", reason
	// A rollout has Pods above the desired count, too: only Pods that are missing, or too many of the newest template, mean
	// that the count is changing.
	case status.ReadyReplicas < status.DesiredReplicas, status.UpdatedReplicas > status.DesiredReplicas:
		return "Scaling", reason
	case status.UpdatedReplicas < status.Replicas, ready != nil && ready.Status == metav1.ConditionFalse:
		return "Updating", reason
	case ready != nil && ready.Status == metav1.ConditionTrue:
		return "Ready", reason
	default:
		return "Unknown", reason
	}
}
