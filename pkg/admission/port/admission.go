package port

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/tools/cache"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
	informers "elasticweb.example.com/pkg/generated/informers/externalversions/elasticweb/v1"
)

// PluginName is what the plugin is switched by.
const PluginName = "ElasticWebPort"

// Register makes the plugin known.
func Register(plugins *admission.Plugins) {
	plugins.Register(PluginName, func(io.Reader) (admission.Interface, error) { return New(), nil })
}

// Plugin refuses a port that is set, or changed, to one which another ElasticWeb holds. It tells at once what the Service's
// allocator, which has the last word, would tell later; so what it has not heard of yet, it lets pass.
type Plugin struct {
	*admission.Handler
	informer cache.SharedIndexInformer
}

var (
	_ admission.ValidationInterface     = &Plugin{}
	_ admission.InitializationValidator = &Plugin{}
	_ interface {
		SetElasticWebInformer(informers.ElasticWebInformer) error
	} = &Plugin{}
)

// New returns a plugin that still needs SetElasticWebInformer.
func New() *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update)}
}

const byPort = "port"

// SetElasticWebInformer gives the plugin its view of all ElasticWebs. The informer must not run yet.
func (p *Plugin) SetElasticWebInformer(informer informers.ElasticWebInformer) error {
	p.informer = informer.Informer()
	return p.informer.AddIndexers(cache.Indexers{byPort: func(obj any) ([]string, error) {
		web, ok := obj.(*v1.ElasticWeb)
		// What is being deleted gives its port back.
		if !ok || web.DeletionTimestamp != nil {
			return nil, nil
		}
		var ports []string
		if web.Spec.Port != nil {
			ports = append(ports, strconv.Itoa(int(*web.Spec.Port)))
		}
		// What it did not ask for, or no longer asks for, it holds as well.
		if held := web.Status.NodePort; held != 0 && (web.Spec.Port == nil || *web.Spec.Port != held) {
			ports = append(ports, strconv.Itoa(int(held)))
		}
		return ports, nil
	}})
}

// ValidateInitialization says what is still missing.
func (p *Plugin) ValidateInitialization() error {
	if p.informer == nil {
		return fmt.Errorf("%s needs an informer of ElasticWebs", PluginName)
	}
	return nil
}

// Validate refuses a port that is taken, with 422.
func (p *Plugin) Validate(_ context.Context, attributes admission.Attributes, _ admission.ObjectInterfaces) error {
	if attributes.GetResource().GroupResource() != elasticweb.Resource("elasticwebs") || attributes.GetSubresource() != "" {
		return nil
	}
	web, ok := attributes.GetObject().(*elasticweb.ElasticWeb)
	if !ok || web.Spec.Port == nil {
		return nil
	}
	if old, ok := attributes.GetOldObject().(*elasticweb.ElasticWeb); ok && old.Spec.Port != nil && *old.Spec.Port == *web.Spec.Port {
		return nil
	}
	holders, err := p.informer.GetIndexer().ByIndex(byPort, strconv.Itoa(int(*web.Spec.Port)))
	if err != nil {
		return errors.NewInternalError(fmt.Errorf("look up who holds port %d: %w", *web.Spec.Port, err))
	}
	for _, holder := range holders {
		holder := holder.(*v1.ElasticWeb)
		if holder.Name == attributes.GetName() && holder.Namespace == attributes.GetNamespace() {
			continue
		}
		// Without its name: the user may have no right to see it.
		return errors.NewInvalid(attributes.GetKind().GroupKind(), attributes.GetName(), field.ErrorList{
			field.Invalid(field.NewPath("spec", "port"), *web.Spec.Port, "another ElasticWeb of the cluster holds this port: choose another one, or leave it out to have one allocated"),
		})
	}
	return nil
}
