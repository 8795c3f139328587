package options

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/apiserver"
	"elasticweb.example.com/pkg/controller"
	"elasticweb.example.com/pkg/generated/clientset/versioned"
	"elasticweb.example.com/pkg/leader"
	"elasticweb.example.com/pkg/servingcert"
)

// elector returns what contends for the lease, and does the leader's work.
func (o *Options) elector(config *genericapiserver.RecommendedConfig, own ownClient, caBundle []byte) (*leader.Elector, error) {
	// The lease has a client of its own: nothing that the leader does delays its renewal, and the fence does not bind it.
	leaseConfig := rest.CopyConfig(config.ClientConfig)
	leaseConfig.QPS = -1
	// One request that hangs leaves time for another before the deadline.
	leaseConfig.Timeout = max(o.LeaderElection.RenewDeadline/2, time.Second)
	leases, err := kubernetes.NewForConfig(leaseConfig)
	if err != nil {
		return nil, fmt.Errorf("client of the host cluster: %w", err)
	}
	fence := &leader.Fence{}
	lead, err := o.lead(config, own, caBundle, fence)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this process in the lease: %w", err)
	}
	return leader.NewElector(leader.Config{
		Client:    leases.CoordinationV1(),
		Namespace: o.ServiceNamespace,
		Name:      apiserver.Name,
		Identity:  host + "_" + string(uuid.NewUUID()),
		Times:     o.LeaderElection,
		Fence:     fence,
		Lead:      lead,
	}), nil
}

// lead returns the leader's work. All its clients are behind the fence.
func (o *Options) lead(config *genericapiserver.RecommendedConfig, own ownClient, caBundle []byte, fence *leader.Fence) (func(context.Context), error) {
	host := rest.CopyConfig(config.ClientConfig)
	host.QPS, host.Burst = o.HostQPS, o.HostBurst
	host.Wrap(fence.Transport)
	kube, err := kubernetes.NewForConfig(host)
	if err != nil {
		return nil, fmt.Errorf("client of the host cluster: %w", err)
	}
	loopback := rest.CopyConfig(config.LoopbackClientConfig)
	loopback.Wrap(fence.Transport)
	elasticWebs, err := versioned.NewForConfig(loopback)
	if err != nil {
		return nil, fmt.Errorf("loopback client: %w", err)
	}
	anything, err := dynamic.NewForConfig(host)
	if err != nil {
		return nil, fmt.Errorf("client of the host cluster: %w", err)
	}
	namespaces := config.SharedInformerFactory.Core().V1().Namespaces()
	controllerConfig := controller.Config{
		ElasticWebs:      elasticWebs,
		Informers:        own.informers,
		Kube:             kube,
		Namespaces:       namespaces.Lister(),
		NamespacesSynced: namespaces.Informer().HasSynced,
		MaxReplicas:      o.MaxReplicas,
		ProgressDeadline: o.ProgressDeadline,
		Workers:          o.ConcurrentSyncs,
	}
	return func(ctx context.Context) {
		control, err := controller.New(controllerConfig)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot start the controller")
			return
		}
		var work sync.WaitGroup
		defer work.Wait()
		if caBundle != nil {
			apiService := v1.SchemeGroupVersion.Version + "." + v1.GroupName
			publisher := servingcert.NewPublisher(anything, apiService, o.ServiceName, o.ServiceNamespace, caBundle)
			work.Go(func() { publisher.Run(ctx) })
		}
		control.Run(ctx)
	}, nil
}
