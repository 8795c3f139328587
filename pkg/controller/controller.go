package controller

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	kubeinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	elasticwebclient "elasticweb.example.com/pkg/generated/clientset/versioned"
	"elasticweb.example.com/pkg/generated/clientset/versioned/scheme"
	elasticwebinformers "elasticweb.example.com/pkg/generated/informers/externalversions"
	elasticweblisters "elasticweb.example.com/pkg/generated/listers/elasticweb/v1"
)

// FieldManager is the name under which the controller owns fields of the children.
const FieldManager = "elasticweb-controller"

// Delays between attempts at one object. An obstacle may go at any time without an event that says so (a quota, a freed node
// port), so a stalled object is looked at again at least every maxDelay.
const (
	minDelay = 50 * time.Millisecond
	maxDelay = 30 * time.Second
)

// Config is what a Controller works with.
type Config struct {
	// ElasticWebs is a client of the server that the controller runs in.
	ElasticWebs elasticwebclient.Interface
	// Informers are of that server. Whoever made them starts them.
	Informers elasticwebinformers.SharedInformerFactory
	// Kube is a client of the cluster that holds the children. All that it and ElasticWebs write is the leader's to write.
	Kube kubernetes.Interface
	// Namespaces says which namespaces of that cluster are terminating.
	Namespaces corev1listers.NamespaceLister
	// NamespacesSynced says whether Namespaces is filled.
	NamespacesSynced cache.InformerSynced
	// MaxReplicas is the largest number of replicas of one ElasticWeb, 1 or more.
	MaxReplicas int32
	// ProgressDeadline is how long a rollout may get no further before it counts as failed: whole seconds, 1 or more.
	ProgressDeadline time.Duration
	// Workers is the number of ElasticWebs that are worked on at a time, 1 or more.
	Workers int
}

// Controller keeps the children of every ElasticWeb as asked, for one term of the leader: it begins with empty caches.
type Controller struct {
	config Config
	clock  clock.PassiveClock

	kubeInformers kubeinformers.SharedInformerFactory
	synced        []cache.InformerSynced
	// subscriptions end what New began on informers, some of which outlive the controller.
	subscriptions []func() error
	events        record.EventRecorder

	elasticWebs elasticweblisters.ElasticWebLister
	deployments *child[*appsv1.Deployment, *appsv1ac.DeploymentApplyConfiguration]
	services    *child[*corev1.Service, *corev1ac.ServiceApplyConfiguration]
	statuses    *statusWriter

	queue workqueue.TypedRateLimitingInterface[cache.ObjectName]
}

// New returns a controller that Run starts.
func New(config Config) (*Controller, error) {
	c := &Controller{
		config:        config,
		clock:         clock.RealClock{},
		kubeInformers: kubeinformers.NewSharedInformerFactoryWithOptions(config.Kube, 0, kubeinformers.WithTransform(trim)),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](minDelay, maxDelay),
			workqueue.TypedRateLimitingQueueConfig[cache.ObjectName]{Name: "elasticweb"}),
	}
	elasticWebs := config.Informers.Elasticweb().V1().ElasticWebs()
	deployments := c.kubeInformers.Apps().V1().Deployments()
	services := c.kubeInformers.Core().V1().Services()

	c.elasticWebs = elasticWebs.Lister()
	c.deployments = newDeployments(config.Kube, deployments.Informer().GetIndexer(), c.confirm)
	c.services = newServices(config.Kube, services.Informer().GetIndexer(), c.confirm)
	c.statuses = newStatusWriter(config.ElasticWebs, elasticWebs.Informer().GetIndexer(), c.clock)

	// A child has the name of its ElasticWeb, so one handler serves all three kinds, and a foreign object that goes away wakes
	// the ElasticWeb it stood in the way of.
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    c.enqueue,
		UpdateFunc: func(_, obj any) { c.enqueue(obj) },
		DeleteFunc: c.enqueue,
	}
	for _, informer := range []cache.SharedIndexInformer{elasticWebs.Informer(), deployments.Informer(), services.Informer()} {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			c.drain()
			return nil, errors.Join(fmt.Errorf("watch for changes: %w", err), c.unsubscribe())
		}
		c.subscriptions = append(c.subscriptions, func() error { return informer.RemoveEventHandler(registration) })
		c.synced = append(c.synced, registration.HasSynced)
	}
	c.synced = append(c.synced, config.NamespacesSynced)
	return c, nil
}

func (c *Controller) unsubscribe() error {
	var errs []error
	for _, end := range c.subscriptions {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

// Run works until ctx ends, and returns when the last pass has.
func (c *Controller) Run(ctx context.Context) {
	defer utilruntime.HandleCrashWithContext(ctx)
	logger := klog.FromContext(ctx).WithName("controller")
	ctx = klog.NewContext(ctx, logger)

	defer c.drain()
	c.kubeInformers.StartWithContext(ctx)
	defer c.kubeInformers.Shutdown()
	defer func() {
		if err := c.unsubscribe(); err != nil {
			logger.Error(err, "Cannot unsubscribe from the informers")
		}
	}()
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: c.config.Kube.CoreV1().Events(metav1.NamespaceAll)})
	c.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: FieldManager})

	logger.Info("Waiting for the caches of ElasticWebs, Deployments, Services and Namespaces")
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) || c.awaitFresh(ctx) != nil {
		return
	}
	logger.Info("Started", "workers", c.config.Workers, "maxReplicasPerElasticWeb", c.config.MaxReplicas)
	defer logger.Info("Stopped")

	var workers sync.WaitGroup
	for range c.config.Workers {
		workers.Go(func() { wait.UntilWithContext(ctx, c.work, time.Second) })
	}
	<-ctx.Done()
	c.queue.ShutDown()
	workers.Wait()
}

// drain empties the queue, so that its metrics do not count for ever what the next term has in a queue of its own.
func (c *Controller) drain() {
	c.queue.ShutDown()
	for {
		key, shutdown := c.queue.Get()
		if shutdown {
			return
		}
		c.queue.Done(key)
	}
}

func (c *Controller) work(ctx context.Context) {
	for c.next(ctx) {
	}
}

func (c *Controller) next(ctx context.Context) bool {
	key, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(key)
	if ctx.Err() != nil {
		return false
	}

	logger := klog.FromContext(ctx).WithValues("elasticWeb", klog.KRef(key.Namespace, key.Name))
	begin := c.clock.Now()
	again, err := c.pass(klog.NewContext(ctx, logger), key)
	reconcileDuration.Observe(c.clock.Since(begin).Seconds())
	switch {
	case err != nil && ctx.Err() == nil:
		reconcileErrors.Inc()
		logger.Error(err, "Pass failed, will be repeated", "failures", c.queue.NumRequeues(key)+1)
		c.queue.AddRateLimited(key)
	case again == backOff:
		c.queue.AddRateLimited(key)
	default:
		c.queue.Forget(key)
		if again > 0 {
			c.queue.AddAfter(key, again)
		}
	}
	return true
}

// pass is reconcile, and a panic in it is an error like others: one object that brings it about must not take the API down.
func (c *Controller) pass(ctx context.Context, key cache.ObjectName) (again time.Duration, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
		}
	}()
	return c.reconcile(ctx, key)
}

func (c *Controller) enqueue(obj any) {
	key, err := cache.DeletionHandlingObjectToName(obj)
	if err != nil {
		utilruntime.HandleError(fmt.Errorf("name a changed object: %w", err))
		return
	}
	c.queue.Add(key)
}
