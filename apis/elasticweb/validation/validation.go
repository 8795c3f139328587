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
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"elasticweb.example.com/apis/elasticweb"
	"elasticweb.example.com/pkg/capacity"
)

var (
	metadataPath = field.NewPath("metadata")
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
)

// ValidateElasticWeb returns every fault of a new object that its type does not declare. nodePorts is the range that spec.port
// must lie in.
func ValidateElasticWeb(web *elasticweb.ElasticWeb, nodePorts utilnet.PortRange) field.ErrorList {
	// DNS-1035, since the name becomes the Service's.
	errs := apivalidation.ValidateObjectMeta(&web.ObjectMeta, true, apivalidation.NameIsDNS1035Label, metadataPath)
	errs = append(errs, validateSpec(&web.Spec, specPath)...)
	return append(errs, validatePort(web.Spec.Port, nodePorts, specPath.Child("port"))...)
}

// ValidateElasticWebUpdate returns every fault of a changed object that its type does not declare. The port is judged only when
// it is set or changed: objects that were stored under another range stay editable.
func ValidateElasticWebUpdate(web, old *elasticweb.ElasticWeb, nodePorts utilnet.PortRange) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&web.ObjectMeta, &old.ObjectMeta, metadataPath)
	errs = append(errs, validateSpec(&web.Spec, specPath)...)
	if old.Spec.Port == nil || web.Spec.Port != nil && *web.Spec.Port != *old.Spec.Port {
		errs = append(errs, validatePort(web.Spec.Port, nodePorts, specPath.Child("port"))...)
	}
	return errs
}

// ValidateElasticWebStatusUpdate returns every fault of a status that replaces another one, that its type does not declare.
func ValidateElasticWebStatusUpdate(web, old *elasticweb.ElasticWeb) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&web.ObjectMeta, &old.ObjectMeta, metadataPath)
	return append(errs, metav1validation.ValidateConditions(web.Status.Conditions, statusPath.Child("conditions"))...)
}

// PerPod is what one Pod is planned to carry. It is not Valid for a spec that is not.
func PerPod(spec *elasticweb.ElasticWebSpec) capacity.PerPod {
	return capacity.PerPod{SingleQPS: ptr.Deref(spec.SinglePodsQPS, 0), UtilizationPercentage: ptr.Deref(spec.TargetUtilizationPercentage, 0)}
}

func validateSpec(spec *elasticweb.ElasticWebSpec, path *field.Path) field.ErrorList {
	errs := validateImage(spec.Image, path.Child("image"))
	errs = append(errs, validateCapacity(spec, path)...)
	if spec.ServiceType == elasticweb.ServiceTypeClusterIP && spec.Port != nil {
		errs = append(errs, field.Forbidden(path.Child("port"), "a Service of type ClusterIP has no node port: remove it, or choose serviceType NodePort or LoadBalancer"))
	}
	errs = append(errs, apivalidation.ValidateAnnotations(spec.ServiceAnnotations, path.Child("serviceAnnotations"))...)
	if spec.Resources != nil {
		errs = append(errs, validateResources(spec.Resources, path.Child("resources"))...)
	}
	if spec.Template != nil {
		errs = append(errs, validateTemplate(spec, path.Child("template"))...)
	}
	return errs
}

func validateImage(image string, path *field.Path) field.ErrorList {
	if image == "" {
		// Declared.
		return nil
	}
	if _, err := reference.ParseNormalizedNamed(image); err != nil {
		return field.ErrorList{field.Invalid(path, image, fmt.Sprintf("must be an OCI image reference, for example nginx:1.29: %v", err))}
	}
	return nil
}

// validateCapacity keeps to the rules that concern more than one field.
func validateCapacity(spec *elasticweb.ElasticWebSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	perPod := PerPod(spec)
	// Each by itself is declared.
	inRange := perPod.SingleQPS >= 1 && perPod.UtilizationPercentage >= 1 && perPod.UtilizationPercentage <= 100
	if inRange && !perPod.Valid() {
		errs = append(errs, field.Invalid(path.Child("targetUtilizationPercentage"), perPod.UtilizationPercentage, fmt.Sprintf(
			"must be %d or more with singlePodsQPS %d: a Pod must be planned to carry 1 query per second or more",
			capacity.LeastUtilization(perPod.SingleQPS), perPod.SingleQPS)))
	}
	if spec.MinReplicas != nil && spec.MaxReplicas != nil && *spec.MinReplicas > *spec.MaxReplicas {
		errs = append(errs, field.Invalid(path.Child("minReplicas"), *spec.MinReplicas,
			fmt.Sprintf("must be at most maxReplicas, %d", *spec.MaxReplicas)))
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
