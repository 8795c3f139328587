package apiserver

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/klog/v2"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
	generatedopenapi "elasticweb.example.com/pkg/generated/openapi"
	registry "elasticweb.example.com/pkg/registry/elasticweb"
)

// Name is the name of the server, its binary and its image.
const Name = "elasticweb-apiserver"

// Config is what a server is made from.
type Config struct {
	Generic *genericapiserver.RecommendedConfig
	Extra   ExtraConfig
}

// ExtraConfig is what this server needs besides a generic one.
type ExtraConfig struct {
	// NodePorts is the range that spec.port must lie in.
	NodePorts utilnet.PortRange
	// Companions run while the server does, by name: Run returns soon after its context ends.
	Companions map[string]Companion
}

// Companion runs beside the server in the same process.
type Companion interface {
	Run(ctx context.Context)
}

// NewGenericConfig returns the configuration of a generic server that serves and documents our types.
func NewGenericConfig() *genericapiserver.RecommendedConfig {
	config := genericapiserver.NewRecommendedConfig(Codecs)
	config.BuildHandlerChainFunc = buildHandlerChain
	namer := openapi.NewDefinitionNamer(Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generatedopenapi.GetOpenAPIDefinitions, namer)
	config.OpenAPIConfig.Info.Title = "ElasticWeb"
	config.OpenAPIConfig.Info.Version = v1.SchemeGroupVersion.Version
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer)
	config.OpenAPIV3Config.Info = config.OpenAPIConfig.Info
	return config
}

// CompletedConfig is a Config in which nothing is missing.
type CompletedConfig struct {
	generic genericapiserver.CompletedConfig
	extra   ExtraConfig
}

// Complete fills in what follows from the rest.
func (c *Config) Complete() CompletedConfig {
	return CompletedConfig{generic: c.Generic.Complete(), extra: c.Extra}
}

// New returns a server that is ready to run.
func (c CompletedConfig) New() (*genericapiserver.GenericAPIServer, error) {
	server, err := c.generic.New(Name, genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	storage, err := registry.NewStorage(registry.Config{
		Scheme:            Scheme,
		RESTOptionsGetter: c.generic.RESTOptionsGetter,
		NodePorts:         c.extra.NodePorts,
	})
	if err != nil {
		return nil, err
	}
	group := genericapiserver.NewDefaultAPIGroupInfo(elasticweb.GroupName, Scheme, metav1.ParameterCodec, Codecs)
	group.VersionedResourcesStorageMap[v1.SchemeGroupVersion.Version] = storage
	if err := server.InstallAPIGroup(&group); err != nil {
		return nil, fmt.Errorf("install API group %s: %w", elasticweb.GroupName, err)
	}
	for name, companion := range c.extra.Companions {
		if err := accompany(server, name, companion); err != nil {
			return nil, err
		}
	}
	return server, nil
}

// accompany starts the companion once the server serves, and on the way down stops it and waits for it before the server
// stops serving: its last requests still find it.
func accompany(server *genericapiserver.GenericAPIServer, name string, companion Companion) error {
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	// Whoever comes first, the start or the stop, decides whether the companion runs.
	var first sync.Once
	err := server.AddPostStartHook("start-"+name, func(hook genericapiserver.PostStartHookContext) error {
		first.Do(func() {
			go func() {
				defer close(stopped)
				companion.Run(klog.NewContext(ctx, klog.FromContext(hook)))
			}()
		})
		return nil
	})
	if err != nil {
		cancel()
		return err
	}
	return server.AddPreShutdownHook("stop-"+name, func() error {
		cancel()
		first.Do(func() { close(stopped) })
		<-stopped
		return nil
	})
}
