package options

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	kubeinformers "k8s.io/client-go/informers"

	"elasticweb.example.com/pkg/admission/port"
	"elasticweb.example.com/pkg/admission/template"
	informers "elasticweb.example.com/pkg/generated/informers/externalversions"
	elasticwebinformers "elasticweb.example.com/pkg/generated/informers/externalversions/elasticweb/v1"
)

// addPlugins adds to the chain what the generic server does not have in it. The cluster runs no admission for what we serve: a
// quota that our chain does not check would show and not bind. It comes last, as in kube-apiserver: what another plugin
// refuses is not counted.
func addPlugins(options *genericoptions.AdmissionOptions) {
	port.Register(options.Plugins)
	template.Register(options.Plugins)
	resourcequota.Register(options.Plugins)
	options.RecommendedPluginOrder = append(options.RecommendedPluginOrder, port.PluginName, template.PluginName, resourcequota.PluginName)
}

// pluginInitializer gives the plugins what the generic initializer does not have.
type pluginInitializer struct {
	elasticWebs informers.SharedInformerFactory
}

// Initialize implements admission.PluginInitializer.
func (i pluginInitializer) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(interface {
		SetElasticWebInformer(elasticwebinformers.ElasticWebInformer) error
	}); ok {
		utilruntime.Must(wants.SetElasticWebInformer(i.elasticWebs.Elasticweb().V1().ElasticWebs()))
	}
	if wants, ok := plugin.(initializer.WantsQuotaConfiguration); ok {
		// Every kind is counted; that needs nothing known of it.
		wants.SetQuotaConfiguration(generic.NewConfiguration(nil, nil))
	}
}

// withoutParameters has no informers of what policies have as parameters, so that they make their own. Of the shared ones /readyz says
// that they are not filled yet; and one of a kind that the server may not read never is: a policy with such parameters, of whatever
// resource, would take the API out of service.
type withoutParameters struct {
	kubeinformers.SharedInformerFactory
}

// ForResource implements kubeinformers.SharedInformerFactory. Policies alone ask by resource.
func (withoutParameters) ForResource(resource schema.GroupVersionResource) (kubeinformers.GenericInformer, error) {
	return nil, fmt.Errorf("no shared informer of %v", resource)
}
