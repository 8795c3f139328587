// Package install adds every version of the API to a scheme.
package install

import (
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// Install registers the hub and the wire versions, the preferred one first.
func Install(scheme *runtime.Scheme) {
	utilruntime.Must(elasticweb.AddToScheme(scheme))
	utilruntime.Must(v1.AddToScheme(scheme))
	utilruntime.Must(scheme.SetVersionPriority(v1.SchemeGroupVersion))
}
