package options

import (
	"context"
	"fmt"
	"os"
	"path"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/registry/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/apiserver"
	"elasticweb.example.com/pkg/controller"
	"elasticweb.example.com/pkg/generated/clientset/versioned"
	"elasticweb.example.com/pkg/leader"
	registry "elasticweb.example.com/pkg/registry/elasticweb"
	"elasticweb.example.com/pkg/servingcert"
	"elasticweb.example.com/pkg/storage/identity"
)

// parts are those of the server that its leader works with.
type parts struct {
	host  *host
	own   ownClient
	guard *identity.Guard
	// storage is not behind the guard.
	storage generic.RESTOptionsGetter
}

// elector returns what contends for the lease, and does the leader's work.
func (o *Options) elector(config *genericapiserver.RecommendedConfig, p parts) (*leader.Elector, error) {
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
	lead, err := o.lead(config, p, fence)
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
func (o *Options) lead(config *genericapiserver.RecommendedConfig, p parts, fence *leader.Fence) (func(context.Context), error) {
	fenced := rest.CopyConfig(config.ClientConfig)
	fenced.QPS, fenced.Burst = o.HostQPS, o.HostBurst
	fenced.Wrap(fence.Transport)
	kube, err := kubernetes.NewForConfig(fenced)
	if err != nil {
		return nil, fmt.Errorf("client of the host cluster: %w", err)
	}
	control, err := o.controllerConfig(config, p, fence, fenced)
	if err != nil {
		return nil, err
	}
	work := []func(context.Context){func(ctx context.Context) {
		c, err := controller.New(control)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot start the controller")
			return
		}
		c.Run(ctx)
	}}
	if p.host.certificate != nil {
		anything, err := dynamic.NewForConfig(fenced)
		if err != nil {
			return nil, fmt.Errorf("client of the host cluster: %w", err)
		}
		apiService := v1.SchemeGroupVersion.Version + "." + v1.GroupName
		work = append(work, servingcert.NewPublisher(anything, apiService, o.ServiceName, o.ServiceNamespace, p.host.certificate).Run)
		if !o.ExternalServingCert {
			work = append(work, servingcert.NewKeeper(kube, o.ServiceNamespace, o.ServingCertSecret, o.certificateRules()).Run)
		}
	}
	steward, err := o.steward(p, kube, fenced)
	if err != nil {
		return nil, err
	}
	work = append(work, steward)
	return func(ctx context.Context) {
		var all sync.WaitGroup
		for _, do := range work {
			all.Go(func() { do(ctx) })
		}
		all.Wait()
	}, nil
}

// controllerConfig is that of the controller. Its writes pass the guard, too: what it knows may be of another storage.
func (o *Options) controllerConfig(config *genericapiserver.RecommendedConfig, p parts, fence *leader.Fence, fenced *rest.Config) (controller.Config, error) {
	guarded := rest.CopyConfig(fenced)
	guarded.Wrap(p.guard.Transport)
	kube, err := kubernetes.NewForConfig(guarded)
	if err != nil {
		return controller.Config{}, fmt.Errorf("client of the host cluster: %w", err)
	}
	loopback := rest.CopyConfig(config.LoopbackClientConfig)
	loopback.Wrap(fence.Transport)
	elasticWebs, err := versioned.NewForConfig(loopback)
	if err != nil {
		return controller.Config{}, fmt.Errorf("loopback client: %w", err)
	}
	namespaces := config.SharedInformerFactory.Core().V1().Namespaces()
	return controller.Config{
		ElasticWebs:      elasticWebs,
		Informers:        p.own.informers,
		Kube:             kube,
		Namespaces:       namespaces.Lister(),
		NamespacesSynced: namespaces.Informer().HasSynced,
		MaxReplicas:      o.MaxReplicas,
		ProgressDeadline: o.ProgressDeadline,
		Workers:          o.ConcurrentSyncs,
	}, nil
}

// steward returns what the leader does for the storage's identity.
func (o *Options) steward(p parts, kube kubernetes.Interface, fenced *rest.Config) (func(context.Context), error) {
	children, err := metadata.NewForConfig(fenced)
	if err != nil {
		return nil, fmt.Errorf("client of the host cluster: %w", err)
	}
	release := func(ctx context.Context) (int, error) {
		living, err := registry.UIDs(ctx, p.storage)
		if err != nil {
			return 0, fmt.Errorf("list ElasticWebs: %w", err)
		}
		return controller.Release(ctx, children, living)
	}
	return func(ctx context.Context) {
		events := record.NewBroadcaster(record.WithContext(ctx))
		events.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: kube.CoreV1().Events(o.ServiceNamespace)})
		defer events.Shutdown()
		steward := &identity.Steward{
			Guard: p.guard, Host: kube, Release: release,
			Objects: p.own.informers.Elasticweb().V1().ElasticWebs().Informer(),
			Prefix:  path.Join("/", o.Etcd.StorageConfig.Prefix, storagePrefix) + "/",
			Events:  events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: apiserver.Name}),
		}
		steward.Run(ctx)
	}, nil
}
