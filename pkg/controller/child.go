package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// createOnly is the resourceVersion that an apply carries when the cache shows no child: no living object has it, so the
// apply creates the child or is answered 409, and never takes over an object that the cache has not shown yet.
const createOnly = "1"

// Why a child cannot be judged now. An event brings the next pass.
var (
	errNotYetSeen = errors.New("the cache does not show the last write yet")
	errChanged    = errors.New("the object has changed since the cache showed it")
)

// written says that the child has just been written. It is an errNotYetSeen: the cache does not show it yet.
type written struct{ how string }

// What a write did: it made the child, took over one without a controller, or changed one of ours.
const (
	created = "Created"
	adopted = "Adopted"
	updated = "Updated"
)

func (w *written) Error() string        { return w.how }
func (w *written) Is(target error) bool { return target == errNotYetSeen }

// applyConfiguration is what the generated apply configurations of the children have in common.
type applyConfiguration[A any] interface {
	WithResourceVersion(string) A
}

// settled is what an apply said that changed nothing: what was wanted, what we owned, if it could be extracted, and on which
// resourceVersion.
type settled[A any] struct {
	want, have      A
	extracted       bool
	resourceVersion string
}

// child is one kind of child: where to see it, how to extract what we own in it, how to write it.
type child[T metav1.Object, A applyConfiguration[A]] struct {
	kind    string
	cache   cache.Indexer
	extract func(object T, fieldManager string) (A, error)
	apply   func(ctx context.Context, namespace string, want A, options metav1.ApplyOptions) (T, error)
	get     func(ctx context.Context, namespace, name string) (T, error)
	// confirm asks the API itself whether the ElasticWeb still lives, and is the one that we know.
	confirm func(ctx context.Context, web *v1.ElasticWeb) error

	mu sync.Mutex
	// written holds the resourceVersion of our last write until the cache has reached it.
	written map[cache.ObjectName]string
	// settled holds applies that changed nothing although we saw a difference.
	settled map[cache.ObjectName]settled[A]
}

func newDeployments(kube kubernetes.Interface, indexer cache.Indexer, confirm func(context.Context, *v1.ElasticWeb) error) *child[*appsv1.Deployment, *appsv1ac.DeploymentApplyConfiguration] {
	return &child[*appsv1.Deployment, *appsv1ac.DeploymentApplyConfiguration]{
		kind:    "Deployment",
		cache:   indexer,
		extract: appsv1ac.ExtractDeployment,
		apply: func(ctx context.Context, namespace string, want *appsv1ac.DeploymentApplyConfiguration, options metav1.ApplyOptions) (*appsv1.Deployment, error) {
			return kube.AppsV1().Deployments(namespace).Apply(ctx, want, options)
		},
		get: func(ctx context.Context, namespace, name string) (*appsv1.Deployment, error) {
			return kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		},
		confirm: confirm,
		written: map[cache.ObjectName]string{},
		settled: map[cache.ObjectName]settled[*appsv1ac.DeploymentApplyConfiguration]{},
	}
}

func newServices(kube kubernetes.Interface, indexer cache.Indexer, confirm func(context.Context, *v1.ElasticWeb) error) *child[*corev1.Service, *corev1ac.ServiceApplyConfiguration] {
	return &child[*corev1.Service, *corev1ac.ServiceApplyConfiguration]{
		kind:    "Service",
		cache:   indexer,
		extract: corev1ac.ExtractService,
		apply: func(ctx context.Context, namespace string, want *corev1ac.ServiceApplyConfiguration, options metav1.ApplyOptions) (*corev1.Service, error) {
			return kube.CoreV1().Services(namespace).Apply(ctx, want, options)
		},
		get: func(ctx context.Context, namespace, name string) (*corev1.Service, error) {
			return kube.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		},
		confirm: confirm,
		written: map[cache.ObjectName]string{},
		settled: map[cache.ObjectName]settled[*corev1ac.ServiceApplyConfiguration]{},
	}
}

// ensure brings the child to what is wanted, with at most one write, and returns what the cache shows of it, if it is web's.
// Without an error that is the child as wanted. The error is errNotYetSeen, errChanged, an *obstacle, or a failure of the pass.
func (c *child[T, A]) ensure(ctx context.Context, web *v1.ElasticWeb, want A) (ours T, err error) {
	key := cache.MetaObjectToName(web)
	caughtUp := c.caughtUp(key)
	current, found := c.cached(key)
	if found && metav1.IsControlledBy(current, web) {
		ours = current
	}
	switch {
	case !caughtUp:
		return ours, errNotYetSeen
	case !found:
		return ours, c.create(ctx, web, want)
	}
	if err := c.mayWrite(ctx, web, current); err != nil {
		return ours, err
	}
	if c.asWanted(key, current, want) {
		return ours, nil
	}
	return ours, c.update(ctx, web, want, current)
}

// look returns what the cache shows of the child, if it is web's, and whether ensure would leave it as it is. It writes nothing.
func (c *child[T, A]) look(web *v1.ElasticWeb, want A) (ours T, asWanted bool) {
	key := cache.MetaObjectToName(web)
	current, found := c.cached(key)
	if !found || !metav1.IsControlledBy(current, web) {
		return ours, false
	}
	return current, c.caughtUp(key) && c.asWanted(key, current, want)
}

// asWanted says whether an apply would change nothing.
func (c *child[T, A]) asWanted(key cache.ObjectName, current T, want A) bool {
	// What cannot be extracted (others may add to the object what no apply could) is for the cluster to compare.
	have, err := c.extract(current, FieldManager)
	// Exact, not a subset: what we own and no longer want has to go, too.
	if err == nil && apiequality.Semantic.DeepEqual(have, want) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, ok := c.settled[key]
	if !ok || !apiequality.Semantic.DeepEqual(before.want, want.WithResourceVersion(before.resourceVersion)) {
		return false
	}
	// The object is the same, or at least what we own in it is.
	return before.resourceVersion == current.GetResourceVersion() ||
		err == nil && before.extracted && apiequality.Semantic.DeepEqual(before.have, have)
}

// ours returns the child that the cache shows, if it belongs to web.
func (c *child[T, A]) ours(web *v1.ElasticWeb) T {
	if current, found := c.cached(cache.MetaObjectToName(web)); found && metav1.IsControlledBy(current, web) {
		return current
	}
	var none T
	return none
}

func (c *child[T, A]) create(ctx context.Context, web *v1.ElasticWeb, want A) error {
	err := c.write(ctx, web, want, createOnly, created)
	if !errors.Is(err, errChanged) {
		return err
	}
	// Something of this name exists that the cache does not show: one look at the truth.
	live, lookup := c.get(ctx, web.Namespace, web.Name)
	if apierrors.IsNotFound(lookup) {
		return fmt.Errorf("create the %s: refused although there is none: %v", c.kind, err)
	}
	if lookup != nil {
		return fmt.Errorf("look up the %s: %w", c.kind, lookup)
	}
	if err := c.mayWrite(ctx, web, live); err != nil {
		return err
	}
	return c.update(ctx, web, want, live)
}

func (c *child[T, A]) update(ctx context.Context, web *v1.ElasticWeb, want A, current T) error {
	how := updated
	if !metav1.IsControlledBy(current, web) {
		how = adopted
	}
	return c.write(ctx, web, want, current.GetResourceVersion(), how)
}

// write applies the child, decided on the picture of resourceVersion: the cluster refuses it if that is no longer the newest.
// No error means that the child was as wanted already; *written, that it was written; errChanged, that it was not.
func (c *child[T, A]) write(ctx context.Context, web *v1.ElasticWeb, want A, resourceVersion, how string) error {
	key := cache.MetaObjectToName(web)
	applied, err := c.apply(ctx, web.Namespace, want.WithResourceVersion(resourceVersion), metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if apierrors.IsConflict(err) {
		childWrites.WithLabelValues(c.kind, "Conflict").Inc()
		klog.FromContext(ctx).V(1).Info("Write refused, will be decided again", "kind", c.kind, "decidedOn", resourceVersion, "reason", err.Error())
		return fmt.Errorf("%w: %v", errChanged, err)
	}
	if err != nil {
		childWrites.WithLabelValues(c.kind, "Failed").Inc()
		return refusal(c.kind, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if applied.GetResourceVersion() == resourceVersion {
		// The cluster sees no difference where we do: its defaults make the same of what we want as before.
		childWrites.WithLabelValues(c.kind, "Unchanged").Inc()
		have, err := c.extract(applied, FieldManager)
		c.settled[key] = settled[A]{want: want, have: have, extracted: err == nil, resourceVersion: resourceVersion}
		return nil
	}
	c.written[key] = applied.GetResourceVersion()
	childWrites.WithLabelValues(c.kind, how).Inc()
	return &written{how}
}

// mayWrite returns the obstacle, if any, that an object of the child's name is to web.
func (c *child[T, A]) mayWrite(ctx context.Context, web *v1.ElasticWeb, object T) error {
	owner := metav1.GetControllerOfNoCopy(object)
	switch {
	case owner == nil && object.GetLabels()[v1.NameLabel] == web.Name:
		// Left behind by an orphaning deletion, and ours to adopt: unless that deletion is of this very ElasticWeb, and the
		// cache does not show it yet. Adopted by a dying one, the child would be deleted with it.
		return c.confirm(ctx, web)
	case owner != nil && owner.UID == web.UID:
		return nil
	case owner != nil && owner.Name == web.Name && ofOurKind(owner):
		return &obstacle{
			reason:  "WaitingForGarbageCollection",
			message: fmt.Sprintf("the %s of a deleted ElasticWeb of this name is still there", c.kind),
			passing: true,
		}
	default:
		return &obstacle{
			reason:  "NotOwned",
			message: fmt.Sprintf("a %s of this name belongs to somebody else: delete or rename it, or choose another name for the ElasticWeb", c.kind),
		}
	}
}

func (c *child[T, A]) cached(key cache.ObjectName) (T, bool) {
	object, found, err := c.cache.GetByKey(key.String())
	if err != nil || !found {
		var none T
		return none, false
	}
	return object.(T), true
}

// caughtUp says whether the cache has reached our last write. Until then what it shows says nothing.
func (c *child[T, A]) caughtUp(key cache.ObjectName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	written, waiting := c.written[key]
	if waiting && !reached(c.cache.LastStoreSyncResourceVersion(), written) {
		return false
	}
	delete(c.written, key)
	return true
}

func (c *child[T, A]) forget(key cache.ObjectName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.written, key)
	delete(c.settled, key)
}

// reached says whether resource version a is b or a later one. Versions that cannot be compared count as reached: a wrong
// judgement costs one write that the cluster refuses, waiting for ever would cost the object.
func reached(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order >= 0
}
