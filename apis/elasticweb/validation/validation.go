package validation

import (
	"fmt"
	"maps"
	"slices"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"elasticweb.example.com/apis/elasticweb"
)

var (
	metadataPath = field.NewPath("metadata")
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
)

// ValidateElasticWeb returns every fault of a new object. nodePorts is the range that spec.port must lie in.
func ValidateElasticWeb(web *elasticweb.ElasticWeb, nodePorts utilnet.PortRange) field.ErrorList {
	// DNS-1035, since the name becomes the Service's.
	errs := apivalidation.ValidateObjectMeta(&web.ObjectMeta, true, apivalidation.NameIsDNS1035Label, metadataPath)
	errs = append(errs, validateSpec(&web.Spec, specPath)...)
	return append(errs, validatePort(web.Spec.Port, nodePorts, specPath.Child("port"))...)
}

// ValidateElasticWebUpdate returns every fault of a changed object. The port is judged only when it is set or changed:
// objects that were stored under another range stay editable.
func ValidateElasticWebUpdate(web, old *elasticweb.ElasticWeb, nodePorts utilnet.PortRange) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&web.ObjectMeta, &old.ObjectMeta, metadataPath)
	errs = append(errs, validateSpec(&web.Spec, specPath)...)
	if old.Spec.Port == nil || web.Spec.Port != nil && *web.Spec.Port != *old.Spec.Port {
		errs = append(errs, validatePort(web.Spec.Port, nodePorts, specPath.Child("port"))...)
	}
	return errs
}

// ValidateElasticWebStatusUpdate returns every fault of a status that replaces another one.
func ValidateElasticWebStatusUpdate(web, old *elasticweb.ElasticWeb) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&web.ObjectMeta, &old.ObjectMeta, metadataPath)
	status := &web.Status
	for _, number := range []struct {
		field string
		value int64
	}{
		{"observedGeneration", status.ObservedGeneration},
		{"desiredReplicas", int64(status.DesiredReplicas)},
		{"replicas", int64(status.Replicas)},
		{"readyReplicas", int64(status.ReadyReplicas)},
		{"updatedReplicas", int64(status.UpdatedReplicas)},
		{"desiredQPS", status.DesiredQPS},
		{"nodePort", int64(status.NodePort)},
	} {
		errs = append(errs, apivalidation.ValidateNonnegativeField(number.value, statusPath.Child(number.field))...)
	}
	if status.RealQPS != nil {
		errs = append(errs, apivalidation.ValidateNonnegativeField(*status.RealQPS, statusPath.Child("realQPS"))...)
	}
	return append(errs, metav1validation.ValidateConditions(status.Conditions, statusPath.Child("conditions"))...)
}

func validateSpec(spec *elasticweb.ElasticWebSpec, path *field.Path) field.ErrorList {
	errs := validateImage(spec.Image, path.Child("image"))
	errs = append(errs, validatePortNumber(spec.ContainerPort, path.Child("containerPort"))...)
	errs = append(errs, validatePortNumber(spec.ServicePort, path.Child("servicePort"))...)

	singlePodsQPS := path.Child("singlePodsQPS")
	switch {
	case spec.SinglePodsQPS == nil:
		errs = append(errs, field.Required(singlePodsQPS, "the queries per second that one Pod can take, 1 or more"))
	case *spec.SinglePodsQPS < 1:
		errs = append(errs, field.Invalid(singlePodsQPS, *spec.SinglePodsQPS, "must be 1 or more queries per second"))
	}
	if spec.TotalQPS != nil && *spec.TotalQPS < 0 {
		errs = append(errs, field.Invalid(path.Child("totalQPS"), *spec.TotalQPS, "must be 0 or more queries per second"))
	}
	if spec.Resources != nil {
		errs = append(errs, validateResources(spec.Resources, path.Child("resources"))...)
	}
	return errs
}

func validateImage(image string, path *field.Path) field.ErrorList {
	if image == "" {
		return field.ErrorList{field.Required(path, "an OCI image reference, for example nginx:1.29")}
	}
	if _, err := reference.ParseNormalizedNamed(image); err != nil {
		return field.ErrorList{field.Invalid(path, image, fmt.Sprintf("must be an OCI image reference, for example nginx:1.29: %v", err))}
	}
	return nil
}

func validatePortNumber(port int32, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, message := range validation.IsValidPortNum(int(port)) {
		errs = append(errs, field.Invalid(path, port, message))
	}
	return errs
}

func validatePort(port *int32, nodePorts utilnet.PortRange, path *field.Path) field.ErrorList {
	if port == nil || nodePorts.Contains(int(*port)) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *port, fmt.Sprintf(
		"must be in the range %s of node ports (the server's --service-node-port-range), or absent to have one allocated", nodePorts))}
}

// validateResources keeps to what holds for every kind of resource; the rest is the Deployment API's to judge.
func validateResources(resources *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, list := range []struct {
		field  string
		values corev1.ResourceList
	}{{"limits", resources.Limits}, {"requests", resources.Requests}} {
		for _, name := range slices.Sorted(maps.Keys(list.values)) {
			if quantity := list.values[name]; quantity.Sign() < 0 {
				errs = append(errs, field.Invalid(path.Child(list.field).Key(string(name)), quantity.String(), "must be 0 or more"))
			}
		}
	}
	claims := sets.New[string]()
	for i, claim := range resources.Claims {
		if claims.Has(claim.Name) {
			errs = append(errs, field.Duplicate(path.Child("claims").Index(i).Child("name"), claim.Name))
		}
		claims.Insert(claim.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(resources.Requests)) {
		request := resources.Requests[name]
		if limit, ok := resources.Limits[name]; ok && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), request.String(),
				fmt.Sprintf("must be at most its limit of %s", limit.String())))
		}
	}
	return errs
}
