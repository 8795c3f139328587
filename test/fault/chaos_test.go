package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/test/cluster"
)

const chaosObjects = 50

// chaos does random harm to the children of its ElasticWebs.
type chaos struct {
	*replica
	namespace string
	// stranger is an object that children are given to.
	stranger metav1.OwnerReference

	mu    sync.Mutex
	tally map[string]int
}

// harms are what is done to one ElasticWeb's children, by name.
var harms = []struct {
	name string
	do   func(c *chaos, ctx context.Context, random *rand.Rand, name string) error
}{
	{"delete the Deployment", func(c *chaos, ctx context.Context, _ *rand.Rand, name string) error {
		return plane.Kube.AppsV1().Deployments(c.namespace).Delete(ctx, name, metav1.DeleteOptions{})
	}},
	{"delete the Service", func(c *chaos, ctx context.Context, _ *rand.Rand, name string) error {
		return plane.Kube.CoreV1().Services(c.namespace).Delete(ctx, name, metav1.DeleteOptions{})
	}},
	{"edit the Deployment", func(c *chaos, ctx context.Context, random *rand.Rand, name string) error {
		return c.patchDeployment(ctx, name, fmt.Sprintf(
			`{"spec":{"replicas":%d,"template":{"metadata":{"labels":{"app.kubernetes.io/component":"x"}},"spec":{"containers":[{"name":"web","image":"other"}]}}}}`, random.IntN(5)))
	}},
	{"edit the Service", func(c *chaos, ctx context.Context, _ *rand.Rand, name string) error {
		return c.patchService(ctx, name, `{"spec":{"selector":{"elasticweb.example.com/name":"other"}}}`)
	}},
	{"take the labels away", func(c *chaos, ctx context.Context, _ *rand.Rand, name string) error {
		return errors.Join(c.patchDeployment(ctx, name, `{"metadata":{"labels":null}}`), c.patchService(ctx, name, `{"metadata":{"labels":null}}`))
	}},
	{"make orphans", func(c *chaos, ctx context.Context, _ *rand.Rand, name string) error {
		return errors.Join(c.patchDeployment(ctx, name, `{"metadata":{"ownerReferences":null}}`), c.patchService(ctx, name, `{"metadata":{"ownerReferences":null}}`))
	}},
	{"give the Deployment to a stranger", func(c *chaos, ctx context.Context, _ *rand.Rand, name string) error {
		return c.patchDeployment(ctx, name, fmt.Sprintf(
			`[{"op":"replace","path":"/metadata/ownerReferences","value":[{"apiVersion":"v1","kind":"ConfigMap","name":%q,"uid":%q,"controller":true}]}]`,
			c.stranger.Name, c.stranger.UID))
	}},
	{"add what is nobody's business", func(c *chaos, ctx context.Context, _ *rand.Rand, name string) error {
		return c.patchDeployment(ctx, name, `{"metadata":{"annotations":{"example.com/mine":"1"}}}`)
	}},
	{"ask for another capacity", func(c *chaos, ctx context.Context, random *rand.Rand, name string) error {
		return tryDemand(ctx, c.web, web(c.namespace, name), 100*random.Int32N(4))
	}},
	{"delete and create again", func(c *chaos, ctx context.Context, _ *rand.Rand, name string) error {
		webs := c.web.ElasticwebV1().ElasticWebs(c.namespace)
		if err := webs.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		_, err := webs.Create(ctx, web(c.namespace, name), metav1.CreateOptions{})
		return err
	}},
}

func patchType(body string) types.PatchType {
	if body[0] == '[' {
		return types.JSONPatchType
	}
	return types.StrategicMergePatchType
}

func (c *chaos) patchDeployment(ctx context.Context, name, body string) error {
	_, err := plane.Kube.AppsV1().Deployments(c.namespace).Patch(ctx, name, patchType(body), []byte(body), metav1.PatchOptions{})
	return err
}

func (c *chaos) patchService(ctx context.Context, name, body string) error {
	_, err := plane.Kube.CoreV1().Services(c.namespace).Patch(ctx, name, patchType(body), []byte(body), metav1.PatchOptions{})
	return err
}

// rage does harm for a while, twenty times a second.
func (c *chaos) rage(ctx context.Context, t testing.TB, seed uint64, duration time.Duration) {
	random := rand.New(rand.NewPCG(seed, 0))
	for end := time.Now().Add(duration); time.Now().Before(end); time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond) {
		harm := harms[random.IntN(len(harms))]
		err := harm.do(c, ctx, random, fmt.Sprint("web", random.IntN(chaosObjects)))
		// What is to be harmed may have gone already, or what is to be created have come.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", harm.name, err)
		}
		if err == nil {
			c.mu.Lock()
			c.tally[harm.name]++
			c.mu.Unlock()
		}
	}
}

// foreign are objects that are not ours: some in the way of an ElasticWeb, some that look like ours.
func foreign(t testing.TB, ns string) {
	t.Helper()
	labels := map[string]string{v1.NameLabel: "web0"}
	for i := range 5 {
		inTheWay, lookalike := fmt.Sprint("taken", i), fmt.Sprint("lookalike", i)
		for _, name := range []string{inTheWay, lookalike} {
			own := map[string]string{"app": name}
			deployment := &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns},
				Spec: appsv1.DeploymentSpec{
					Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: own},
					Template: corev1.PodTemplateSpec{
						ObjectMeta: metav1.ObjectMeta{Labels: own},
						Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
					},
				},
			}
			service := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns},
				Spec:       corev1.ServiceSpec{Selector: own, Ports: []corev1.ServicePort{{Port: 80}}},
			}
			if name == lookalike {
				deployment.Labels, service.Labels = labels, labels
			}
			if _, err := plane.Kube.AppsV1().Deployments(ns).Create(t.Context(), deployment, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := plane.Kube.CoreV1().Services(ns).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// foreignVersions are the generations and resource versions of what is not ours.
func foreignVersions(t testing.TB, ns string) (found string) {
	t.Helper()
	for i := range 5 {
		for _, name := range []string{fmt.Sprint("taken", i), fmt.Sprint("lookalike", i)} {
			deployment, service, err := children(t.Context(), ns, name)
			if err != nil || deployment == nil || service == nil {
				t.Fatalf("%s: a foreign object is gone: %v", name, err)
			}
			found += fmt.Sprintln(name, deployment.UID, deployment.Generation, deployment.ManagedFields[0].Manager, len(deployment.OwnerReferences), service.ResourceVersion)
		}
	}
	return found
}

// collectorKnows returns when the garbage collector acts on ElasticWebs. It learns of an API that was not served when it began
// only at its next look around, half a minute later.
func collectorKnows(t testing.TB, r *replica, ns string) {
	t.Helper()
	probe := create(t, r.web, web(ns, "probe"))
	ready(t, r.web, probe, 1)
	if err := r.web.ElasticwebV1().ElasticWebs(ns).Delete(t.Context(), probe.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "the garbage collector to act", func(ctx context.Context) (bool, string) {
		deployment, service, err := children(ctx, ns, probe.Name)
		return err == nil && deployment == nil && service == nil, fmt.Sprint(err)
	})
}

func TestChaos(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server")
	collectorKnows(t, r, ns)
	foreign(t, ns)
	before := foreignVersions(t, ns)
	stranger, err := plane.Kube.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "stranger"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{replica: r, namespace: ns, stranger: metav1.OwnerReference{Name: stranger.Name, UID: stranger.UID}, tally: map[string]int{}}
	for i := range chaosObjects {
		create(t, r.web, web(ns, fmt.Sprint("web", i)))
	}
	for i := range 5 {
		create(t, r.web, web(ns, fmt.Sprint("taken", i)))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var raging sync.WaitGroup
	for i := range uint64(4) {
		raging.Go(func() { c.rage(t.Context(), t, seed+i, either(10*time.Second, 2*time.Minute)) })
	}
	raging.Wait()
	t.Logf("harm done: %v", c.tally)
	for _, harm := range harms {
		if c.tally[harm.name] == 0 {
			t.Errorf("never done: %s", harm.name)
		}
	}
	// The cluster's own controllers back off from what was done to theirs, for minutes after a while; a new one has forgotten.
	plane.Halt(t, "kube-controller-manager")
	plane.Resume(t, "kube-controller-manager")

	begin := time.Now()
	for i := range chaosObjects {
		c.heals(t, fmt.Sprint("web", i))
	}
	t.Logf("all is well %v after the last harm", time.Since(begin).Round(100*time.Millisecond))

	for i := range 5 {
		name := fmt.Sprint("taken", i)
		taken, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if stalled := apimeta.FindStatusCondition(taken.Status.Conditions, v1.ConditionStalled); stalled == nil || stalled.Reason != "NotOwned" {
			t.Errorf("%s: Stalled is %v, want NotOwned", name, stalled)
		}
	}
	if after := foreignVersions(t, ns); after != before {
		t.Errorf("foreign objects have changed:\n%s\nbefore:\n%s", after, before)
	}
	// Nothing that nobody asked for is there.
	deployments, err := plane.Kube.AppsV1().Deployments(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(deployments.Items) != chaosObjects+10 {
		t.Errorf("%d Deployments, want %d (%v)", len(deployments.Items), chaosObjects+10, err)
	}
	services, err := plane.Kube.CoreV1().Services(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(services.Items) != chaosObjects+10 {
		t.Errorf("%d Services, want %d (%v)", len(services.Items), chaosObjects+10, err)
	}
	if errors := r.metric(t, "elasticweb_controller_reconcile_errors_total"); errors > 0 {
		t.Logf("%v passes failed", errors)
	}
}

// heals waits until all that must hold of an ElasticWeb and its children does. A child that was given away, or has lost both its
// label and its owner, is foreign now: it has to have been left alone, and goes.
func (c *chaos) heals(t testing.TB, name string) {
	t.Helper()
	begin, was := time.Now(), ""
	defer func() {
		if took := time.Since(begin); took > 2*time.Second {
			t.Logf("%s: well after %v; before: %s", name, took.Round(100*time.Millisecond), was)
		}
	}()
	cluster.Eventually(t, name+" to be well", func(ctx context.Context) (ok bool, now string) {
		defer func() {
			if now != "" && ctx.Err() == nil {
				was = now
			}
		}()
		w, err := c.web.ElasticwebV1().ElasticWebs(c.namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			// The harm came between the deletion and the creation.
			_, err = c.web.ElasticwebV1().ElasticWebs(c.namespace).Create(ctx, web(c.namespace, name), metav1.CreateOptions{})
			return false, fmt.Sprint("created again ", err)
		}
		if err != nil {
			return false, err.Error()
		}
		deployment, service, err := children(ctx, c.namespace, name)
		if err != nil || deployment == nil || service == nil {
			return false, fmt.Sprintf("a child is missing (%v)", err)
		}
		for _, child := range []metav1.Object{deployment, service} {
			if lost(child) {
				if child == metav1.Object(deployment) {
					err = plane.Kube.AppsV1().Deployments(c.namespace).Delete(ctx, name, metav1.DeleteOptions{})
				} else {
					err = plane.Kube.CoreV1().Services(c.namespace).Delete(ctx, name, metav1.DeleteOptions{})
				}
				return false, fmt.Sprintf("a child that was given away is deleted (%v)", err)
			}
		}
		wrong := wrongWith(w, deployment, service)
		return wrong == "", wrong
	})
}

// lost says whether a child is foreign now.
func lost(child metav1.Object) bool {
	owner := metav1.GetControllerOf(child)
	return owner != nil && owner.Kind != "ElasticWeb" || owner == nil && child.GetLabels()[v1.NameLabel] == ""
}

// wrongWith is what does not hold of an ElasticWeb and its children; empty: all does.
func wrongWith(w *v1.ElasticWeb, deployment *appsv1.Deployment, service *corev1.Service) string {
	want := *w.Spec.TotalQPS / *w.Spec.SinglePodsQPS
	container := deployment.Spec.Template.Spec.Containers[0]
	for _, must := range []struct {
		what string
		ok   bool
	}{
		{"the Deployment's owner", metav1.IsControlledBy(deployment, w) && len(deployment.OwnerReferences) == 1},
		{"the Service's owner", metav1.IsControlledBy(service, w) && len(service.OwnerReferences) == 1},
		{"the Deployment's label", deployment.Labels[v1.NameLabel] == w.Name},
		{"the Service's label", service.Labels[v1.NameLabel] == w.Name},
		{"replicas", *deployment.Spec.Replicas == want},
		{"the image", container.Image == w.Spec.Image && len(deployment.Spec.Template.Spec.Containers) == 1},
		{"the Pods' labels", deployment.Spec.Template.Labels["app.kubernetes.io/component"] == "web"},
		{"the Service's selector", service.Spec.Selector[v1.NameLabel] == w.Name && len(service.Spec.Selector) == 1},
		{"status: Ready", isReady(w)},
		{"status.readyReplicas", w.Status.ReadyReplicas == want && deployment.Status.ReadyReplicas == want},
		{"status.realQPS", w.Status.RealQPS != nil && *w.Status.RealQPS == int64(want**w.Spec.SinglePodsQPS)},
		{"status.nodePort", w.Status.NodePort == service.Spec.Ports[0].NodePort},
		{"status: nothing is Stalled", apimeta.FindStatusCondition(w.Status.Conditions, v1.ConditionStalled) == nil},
	} {
		if !must.ok {
			return fmt.Sprintf("%s; the Deployment says %+v, the ElasticWeb %+v", must.what, deployment.Status, w.Status)
		}
	}
	return ""
}
