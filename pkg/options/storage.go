package options

import (
	"context"
	"fmt"
	"path"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/client-go/kubernetes"

	"elasticweb.example.com/apis/elasticweb"
	"elasticweb.example.com/pkg/apiserver"
	"elasticweb.example.com/pkg/storage/identity"
)

// storagePrefix is where ElasticWebs are, below --etcd-prefix.
const storagePrefix = elasticweb.GroupName + "/elasticwebs"

// ApplyStorage stores ElasticWebs as protobuf at /registry/elasticweb.example.com/elasticwebs/<namespace>/<name>.
func (o *Options) ApplyStorage(config *genericapiserver.Config) error {
	o.Etcd.StorageConfig.Transport.TracerProvider = config.TracerProvider
	o.Etcd.StorageConfig.StorageObjectCountTracker = config.StorageObjectCountTracker
	storage := serverstorage.NewDefaultStorageFactory(o.Etcd.StorageConfig, o.Etcd.DefaultStorageMediaType, apiserver.Codecs,
		serverstorage.NewDefaultResourceEncodingConfig(apiserver.Scheme), serverstorage.NewResourceConfig(), nil)
	storage.SetResourceEtcdPrefix(elasticweb.Resource("elasticwebs"), storagePrefix)
	livez, healthz := config.LivezChecks, config.HealthzChecks
	if err := o.Etcd.ApplyWithStorageFactoryTo(storage, config); err != nil {
		return fmt.Errorf("set up the storage: %w", err)
	}
	// The library's checks of etcd, and of what encrypts objects for it, belong to /readyz alone: a restart of ours heals neither.
	config.LivezChecks, config.HealthzChecks = livez, healthz
	return nil
}

// guardStorage returns what makes sure that the storage is the right one, and waits until there is one.
func (o *Options) guardStorage(ctx context.Context, host kubernetes.Interface) (*identity.Guard, error) {
	client, err := o.etcdClient()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = client.Close() })
	guard := identity.New(identity.Config{
		Etcd: client, Key: path.Join("/", o.Etcd.StorageConfig.Prefix, elasticweb.GroupName, "storage-identity"),
		Host: host, Namespace: o.ServiceNamespace, Name: apiserver.Name + "-storage",
	})
	if err := await(ctx, "etcd, and the copy of its identity", guard.Begin); err != nil {
		return nil, err
	}
	if !o.embeds {
		o.Etcd.StorageConfig.Transport.EgressLookup = guard.Dial()
	}
	return guard, nil
}

func (o *Options) etcdClient() (*clientv3.Client, error) {
	storage := o.Etcd.StorageConfig.Transport
	config := clientv3.Config{
		Endpoints: storage.ServerList, Logger: zap.NewNop(),
		// As the library's clients have it: a member that has lost its power is noticed.
		DialTimeout: 20 * time.Second, DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
	}
	if storage.CertFile != "" || storage.KeyFile != "" || storage.TrustedCAFile != "" {
		files := transport.TLSInfo{CertFile: storage.CertFile, KeyFile: storage.KeyFile, TrustedCAFile: storage.TrustedCAFile}
		tls, err := files.ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("--etcd-cafile, --etcd-certfile, --etcd-keyfile: %w", err)
		}
		config.TLS = tls
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("--etcd-servers: %w", err)
	}
	return client, nil
}
