package validation

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// validateTemplate keeps to what laying the template over the generated one needs; the rest is the Deployment API's to judge.
func validateTemplate(spec *elasticweb.ElasticWebSpec, path *field.Path) field.ErrorList {
	template := spec.Template
	metadata := path.Child("metadata")
	errs := metav1validation.ValidateLabels(template.Labels, metadata.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(template.Annotations, metadata.Child("annotations"))...)
	if _, set := template.Labels[v1.NameLabel]; set {
		errs = append(errs, field.Forbidden(metadata.Child("labels").Key(v1.NameLabel), "the Pods are selected by it; it is always the name of the ElasticWeb"))
	}

	containers := path.Child("spec", "containers")
	names := sets.New[string]()
	for i := range template.Spec.Containers {
		container, at := &template.Spec.Containers[i], containers.Index(i)
		switch {
		case container.Name == "":
			errs = append(errs, field.Required(at.Child("name"), fmt.Sprintf("%q for the app, another name for a container beside it", v1.ContainerName)))
		case names.Has(container.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), container.Name))
		case container.Name == v1.ContainerName:
			errs = append(errs, validateApp(container, spec.ContainerPort, at)...)
		}
		names.Insert(container.Name)
		errs = append(errs, validatePortNames(container.Ports, at.Child("ports"))...)
	}
	for i := range template.Spec.InitContainers {
		errs = append(errs, validatePortNames(template.Spec.InitContainers[i].Ports, path.Child("spec", "initContainers").Index(i).Child("ports"))...)
	}
	return errs
}

// validatePortNames keeps the name by which the Service finds the app's port to it: the Service takes the first one.
func validatePortNames(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, port := range ports {
		if port.Name == v1.PortName {
			errs = append(errs, field.Forbidden(path.Index(i).Child("name"), fmt.Sprintf("the port named %q is spec.containerPort", v1.PortName)))
		}
	}
	return errs
}

// validateApp refuses what other fields of the spec say of the app's container.
func validateApp(app *corev1.Container, containerPort int32, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if app.Image != "" {
		errs = append(errs, field.Forbidden(path.Child("image"), "spec.image says it"))
	}
	if len(app.Resources.Limits)+len(app.Resources.Requests)+len(app.Resources.Claims) > 0 {
		errs = append(errs, field.Forbidden(path.Child("resources"), "spec.resources says them"))
	}
	for i, port := range app.Ports {
		if port.ContainerPort == containerPort && cmp.Or(port.Protocol, corev1.ProtocolTCP) == corev1.ProtocolTCP && port.Name != v1.PortName {
			errs = append(errs, field.Forbidden(path.Child("ports").Index(i).Child("containerPort"), fmt.Sprintf("%d is spec.containerPort already", containerPort)))
		}
	}
	return errs
}
