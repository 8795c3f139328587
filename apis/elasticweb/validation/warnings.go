package validation

import (
	"fmt"
	"slices"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// Warnings returns what is legal in a valid object, but probably not meant.
func Warnings(web *elasticweb.ElasticWeb) []string {
	spec := &web.Spec
	var warnings []string
	if moves(spec.Image) {
		warnings = append(warnings, fmt.Sprintf("spec.image: %q may be another image tomorrow, and Pods may differ: give a tag other than latest, or a digest", spec.Image))
	}
	if spec.Template != nil && len(spec.Template.Spec.Containers) > 0 &&
		!slices.ContainsFunc(spec.Template.Spec.Containers, func(c corev1.Container) bool { return c.Name == v1.ContainerName }) {
		warnings = append(warnings, fmt.Sprintf("spec.template.spec.containers: none is named %q, so all of them run beside the app", v1.ContainerName))
	}
	if perPod := PerPod(spec); spec.MaxReplicas != nil && spec.TotalQPS != nil && perPod.Valid() {
		if demand := perPod.Demand(*spec.TotalQPS); demand > *spec.MaxReplicas {
			warnings = append(warnings, fmt.Sprintf("spec.maxReplicas: %d Pods cannot carry totalQPS %d, which needs %d", *spec.MaxReplicas, *spec.TotalQPS, demand))
		}
	}
	return warnings
}

// moves says whether the reference names whatever is newest.
func moves(image string) bool {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return false
	}
	if _, pinned := named.(reference.Digested); pinned {
		return false
	}
	tagged, ok := named.(reference.Tagged)
	return !ok || tagged.Tag() == "latest"
}
