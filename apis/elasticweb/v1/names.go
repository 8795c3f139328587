package v1

import "k8s.io/apimachinery/pkg/labels"

// NameLabel is on every child of an ElasticWeb and on its Pods; its value is the ElasticWeb's name. The Deployment and the
// Service select Pods by it.
const NameLabel = GroupName + "/name"

const (
	// ContainerName is the name of the container that runs spec.image. The template changes the app by it.
	ContainerName = "web"
	// PortName is the name that container port, Service port and probe share. It never changes: ports are matched by name,
	// so a change of the number moves all three together.
	PortName = "http"
)

// SelectorFor returns the label selector of the Pods of the ElasticWeb of this name, in the form that status.selector and
// the scale subresource report.
func SelectorFor(name string) string {
	return labels.Set{NameLabel: name}.String()
}
