package v1

import "k8s.io/apimachinery/pkg/labels"

// NameLabel is on every child of an ElasticWeb and on its Pods; its value is the ElasticWeb's name. The Deployment and the
// Service select Pods by it.
const NameLabel = GroupName + "/name"

// SelectorFor returns the label selector of the Pods of the ElasticWeb of this name, in the form that status.selector and
// the scale subresource report.
func SelectorFor(name string) string {
	return labels.Set{NameLabel: name}.String()
}
