package options

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/admission"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/healthz"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"

	"elasticweb.example.com/apis/elasticweb"
	"elasticweb.example.com/pkg/apiserver"
	"elasticweb.example.com/pkg/controller"
	"elasticweb.example.com/pkg/generated/clientset/versioned"
	informers "elasticweb.example.com/pkg/generated/informers/externalversions"
	"elasticweb.example.com/pkg/servingcert"
)

// Config turns the flags into the configuration of a server whose etcd runs.
func (o *Options) Config() (*apiserver.Config, error) {
	config := apiserver.NewGenericConfig()
	if err := o.ServerRun.ApplyTo(&config.Config); err != nil {
		return nil, err
	}
	caBundle, err := o.applyServingCertificate()
	if err != nil {
		return nil, err
	}
	var own ownClient
	o.Recommended.ExtraAdmissionInitializers = func(config *genericapiserver.RecommendedConfig) ([]admission.PluginInitializer, error) {
		// The first moment at which there is a loopback configuration, and the last one before admission needs the informer.
		if own, err = newOwnClient(config.LoopbackClientConfig); err != nil {
			return nil, err
		}
		return []admission.PluginInitializer{pluginInitializer{own.informers}}, nil
	}
	if err := o.Recommended.ApplyTo(config); err != nil {
		return nil, err
	}
	if err := o.ApplyStorage(&config.Config); err != nil {
		return nil, err
	}
	companions, err := o.companions(config, own, caBundle)
	if err != nil {
		return nil, err
	}
	return &apiserver.Config{
		Generic: config,
		Extra:   apiserver.ExtraConfig{NodePorts: o.NodePorts, Companions: companions},
	}, nil
}

// applyServingCertificate makes a serving certificate if none is given, and returns the bundle that verifies it.
func (o *Options) applyServingCertificate() (caBundle []byte, err error) {
	serving := o.Recommended.SecureServing
	if serving.ServerCert.CertKey.CertFile != "" || serving.ServerCert.CertKey.KeyFile != "" {
		// Whoever gives the certificate puts its authority into the APIService.
		return nil, nil
	}
	pair, err := servingcert.Issue(serving.ServerCert.CertDirectory, o.ServiceName, o.ServiceNamespace, time.Now())
	if err != nil {
		return nil, fmt.Errorf("make a serving certificate: %w", err)
	}
	serving.ServerCert.GeneratedCert, err = dynamiccertificates.NewStaticCertKeyContent("serving-cert", pair.Cert, pair.Key)
	return pair.CABundle, err
}

// ApplyStorage stores ElasticWebs as protobuf at /registry/elasticweb.example.com/elasticwebs/<namespace>/<name>.
func (o *Options) ApplyStorage(config *genericapiserver.Config) error {
	o.Etcd.StorageConfig.StorageObjectCountTracker = config.StorageObjectCountTracker
	storage := serverstorage.NewDefaultStorageFactory(o.Etcd.StorageConfig, o.Etcd.DefaultStorageMediaType, apiserver.Codecs,
		serverstorage.NewDefaultResourceEncodingConfig(apiserver.Scheme), serverstorage.NewResourceConfig(), nil)
	storage.SetResourceEtcdPrefix(elasticweb.Resource("elasticwebs"), elasticweb.GroupName+"/elasticwebs")
	if err := o.Etcd.ApplyWithStorageFactoryTo(storage, config); err != nil {
		return fmt.Errorf("set up the storage: %w", err)
	}
	ready, err := factory.CreateReadyCheck(o.Etcd.StorageConfig, config.DrainedNotify())
	if err != nil {
		return fmt.Errorf("set up the health check of etcd: %w", err)
	}
	config.AddReadyzChecks(healthz.NamedCheck("etcd", func(*http.Request) error { return ready() }))
	return nil
}

// ownClient is the view that the server has of its own kind, shared by admission and the controller.
type ownClient struct {
	clientset versioned.Interface
	informers informers.SharedInformerFactory
}

func newOwnClient(loopback *rest.Config) (ownClient, error) {
	clientset, err := versioned.NewForConfig(loopback)
	if err != nil {
		return ownClient{}, fmt.Errorf("loopback client: %w", err)
	}
	return ownClient{clientset: clientset, informers: informers.NewSharedInformerFactory(clientset, 0)}, nil
}

// Run keeps the view up to date until ctx ends.
func (c ownClient) Run(ctx context.Context) {
	c.informers.StartWithContext(ctx)
	<-ctx.Done()
	c.informers.Shutdown()
}

// companions are what runs beside the server.
func (o *Options) companions(config *genericapiserver.RecommendedConfig, own ownClient, caBundle []byte) (map[string]apiserver.Companion, error) {
	elector, err := o.elector(config, own, caBundle)
	if err != nil {
		return nil, err
	}
	if o.PerObjectMetrics {
		if err := legacyregistry.CustomRegister(controller.NewObjectMetrics(own.informers.Elasticweb().V1().ElasticWebs().Lister())); err != nil {
			return nil, fmt.Errorf("register the metrics of ElasticWebs: %w", err)
		}
	}
	return map[string]apiserver.Companion{"elasticweb-informers": own, "leader-election": elector}, nil
}
