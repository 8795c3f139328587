package template

import (
	"context"
	"fmt"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"elasticweb.example.com/apis/elasticweb"
)

// PluginName is what the plugin is switched by.
const PluginName = "ElasticWebTemplate"

// Register makes the plugin known.
func Register(plugins *admission.Plugins) {
	plugins.Register(PluginName, func(io.Reader) (admission.Interface, error) { return New(), nil })
}

// Plugin lets only those change spec.template, or the image of an ElasticWeb that has one, who may create deployments.apps in the namespace. With a template one can run any
// Pod; without this, whoever may write ElasticWebs could do so with the controller's rights.
type Plugin struct {
	*admission.Handler
	authorizer authorizer.UnconditionalAuthorizer
}

var (
	_ admission.ValidationInterface            = &Plugin{}
	_ admission.InitializationValidator        = &Plugin{}
	_ initializer.WantsUnconditionalAuthorizer = &Plugin{}
)

// New returns a plugin that still needs SetUnconditionalAuthorizer.
func New() *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update)}
}

// SetUnconditionalAuthorizer gives the plugin whom to ask; it is the server's, which caches its answers.
func (p *Plugin) SetUnconditionalAuthorizer(a authorizer.UnconditionalAuthorizer) { p.authorizer = a }

// ValidateInitialization says what is still missing.
func (p *Plugin) ValidateInitialization() error {
	if p.authorizer == nil {
		return fmt.Errorf("%s needs an authorizer", PluginName)
	}
	return nil
}

// Validate refuses with 403.
func (p *Plugin) Validate(ctx context.Context, attributes admission.Attributes, _ admission.ObjectInterfaces) error {
	if attributes.GetResource().GroupResource() != elasticweb.Resource("elasticwebs") || attributes.GetSubresource() != "" {
		return nil
	}
	web, ok := attributes.GetObject().(*elasticweb.ElasticWeb)
	if !ok {
		return nil
	}
	// Nothing, for a new one.
	old, ok := attributes.GetOldObject().(*elasticweb.ElasticWeb)
	if !ok {
		old = &elasticweb.ElasticWeb{}
	}
	// Another image below a template runs with all that the template gives it.
	imageBelow := web.Spec.Template != nil && web.Spec.Image != old.Spec.Image
	if !imageBelow && apiequality.Semantic.DeepEqual(web.Spec.Template, old.Spec.Template) {
		return nil
	}
	decision, reason, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User:            attributes.GetUserInfo(),
		Verb:            "create",
		Namespace:       attributes.GetNamespace(),
		APIGroup:        appsv1.GroupName,
		APIVersion:      appsv1.SchemeGroupVersion.Version,
		Resource:        "deployments",
		ResourceRequest: true,
	})
	if decision == authorizer.DecisionAllow {
		return nil
	}
	if err != nil {
		reason = err.Error()
	}
	return admission.NewForbidden(attributes, fmt.Errorf("spec.template: whoever changes it, or the image that it is laid over, must be allowed to create deployments.apps in namespace %q: %s",
		attributes.GetNamespace(), reason))
}
