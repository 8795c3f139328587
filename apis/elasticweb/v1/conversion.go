package v1

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
)

// addFieldLabelConversionFuncs lists the field selectors that the API answers; the registry computes their values.
func addFieldLabelConversionFuncs(scheme *runtime.Scheme) error {
	return scheme.AddFieldLabelConversionFunc(SchemeGroupVersion.WithKind("ElasticWeb"),
		func(label, value string) (string, string, error) {
			switch label {
			case "metadata.name", "metadata.namespace", "spec.image", "spec.port":
				return label, value, nil
			default:
				return "", "", fmt.Errorf("field selector %q is not supported: use metadata.name, metadata.namespace, spec.image or spec.port", label)
			}
		})
}
