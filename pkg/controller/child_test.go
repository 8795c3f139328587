package controller

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/workload"
)

func sample() *v1.ElasticWeb {
	web := &v1.ElasticWeb{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "dev", UID: "web-uid", Generation: 1, ResourceVersion: "5"},
		Spec:       v1.ElasticWebSpec{Image: "nginx", SinglePodsQPS: ptr.To[int32](800), TotalQPS: ptr.To[int32](2400)},
	}
	v1.SetDefaults_ElasticWebSpec(&web.Spec)
	return web
}

func ownedBy(uid types.UID, kind, apiVersion string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: "web", UID: uid, Controller: ptr.To(true)}}
}

func service(labelled bool, owners []metav1.OwnerReference) *corev1.Service {
	object := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "dev", UID: "service-uid", ResourceVersion: "100", OwnerReferences: owners,
	}}
	if labelled {
		object.Labels = map[string]string{v1.NameLabel: "web"}
	}
	return object
}

// cluster plays the host: it holds one Service, or none, and notes what is written.
type cluster struct {
	child *child[*corev1.Service, *corev1ac.ServiceApplyConfiguration]
	live  *corev1.Service
	// decidedOn are the resourceVersions that the writes carried.
	decidedOn []string
	gets      int
	refuse    error
	// result is the resourceVersion after a write.
	result string
	// dying is what the API says of the ElasticWeb when asked whether it lives.
	dying error
}

// newCluster shows cached to the controller, while live is what there is.
func newCluster(cached, live *corev1.Service) *cluster {
	c := &cluster{live: live, result: "200"}
	store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	// As a first list leaves it.
	store.Bookmark("99")
	if cached != nil {
		_ = store.Add(cached)
	}
	c.child = &child[*corev1.Service, *corev1ac.ServiceApplyConfiguration]{
		kind:    "Service",
		cache:   store,
		extract: corev1ac.ExtractService,
		apply: func(_ context.Context, _ string, want *corev1ac.ServiceApplyConfiguration, _ metav1.ApplyOptions) (*corev1.Service, error) {
			c.decidedOn = append(c.decidedOn, *want.ResourceVersion)
			have := createOnly
			if c.live != nil {
				have = c.live.ResourceVersion
			}
			if c.refuse != nil {
				return nil, c.refuse
			}
			if *want.ResourceVersion != have {
				return nil, apierrors.NewConflict(corev1.Resource("services"), "web", errors.New("changed"))
			}
			return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "dev", ResourceVersion: c.result}}, nil
		},
		get: func(context.Context, string, string) (*corev1.Service, error) {
			c.gets++
			if c.live == nil {
				return nil, apierrors.NewNotFound(corev1.Resource("services"), "web")
			}
			return c.live, nil
		},
		confirm: func(context.Context, *v1.ElasticWeb) error { return c.dying },
		written: map[cache.ObjectName]string{},
		settled: map[cache.ObjectName]settled[*corev1ac.ServiceApplyConfiguration]{},
	}
	return c
}

func TestEnsure(t *testing.T) {
	const ourVersion = "elasticweb.example.com/v1"
	mine := service(true, ownedBy("web-uid", "ElasticWeb", ourVersion))
	orphan := service(true, nil)
	tests := []struct {
		name         string
		cached, live *corev1.Service
		refuse       error
		// wantWrites are the resourceVersions that the writes carry.
		wantWrites []string
		wantGets   int
		// wantObstacle is the reason, or empty.
		wantObstacle string
		wantPassing  bool
	}{
		{name: "none: create only", wantWrites: []string{"1"}},
		{name: "ours and not as wanted", cached: mine, live: mine, wantWrites: []string{"100"}},
		{name: "ours without its label", cached: service(false, mine.OwnerReferences), live: mine, wantWrites: []string{"100"}},
		{name: "an orphan of ours is adopted", cached: orphan, live: orphan, wantWrites: []string{"100"}},
		{name: "a foreign one is never touched", cached: service(false, nil), wantObstacle: "NotOwned"},
		{name: "nor one with our label and another owner", cached: service(true, ownedBy("x", "Deployment", "apps/v1")), wantObstacle: "NotOwned"},
		{name: "nor one of an ElasticWeb of another group", cached: service(true, ownedBy("x", "ElasticWeb", "elasticweb.com/v1")), wantObstacle: "NotOwned"},
		{
			name: "that of a deleted namesake is waited for", cached: service(true, ownedBy("old-uid", "ElasticWeb", ourVersion)),
			wantObstacle: "WaitingForGarbageCollection", wantPassing: true,
		},
		{name: "changed since: decided again later", cached: mine, live: at("101", mine), wantWrites: []string{"100"}},
		{name: "not in the cache yet: an orphan is adopted", live: orphan, wantWrites: []string{"1", "100"}, wantGets: 1},
		{name: "not in the cache yet: ours is written", live: mine, wantWrites: []string{"1", "100"}, wantGets: 1},
		{name: "not in the cache yet: a foreign one is not touched", live: service(false, nil), wantWrites: []string{"1"}, wantGets: 1, wantObstacle: "NotOwned"},
		{
			name: "refused by quota", refuse: apierrors.NewForbidden(corev1.Resource("services"), "web", errors.New("exceeded quota: q")),
			wantWrites: []string{"1"}, wantObstacle: "QuotaExceeded",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(tt.cached, tt.live)
			c.refuse = tt.refuse
			_, err := c.child.ensure(t.Context(), sample(), workload.Service(sample()))
			if !slices.Equal(c.decidedOn, tt.wantWrites) {
				t.Errorf("writes decided on %q, want %q", c.decidedOn, tt.wantWrites)
			}
			if c.gets != tt.wantGets {
				t.Errorf("%d live reads, want %d", c.gets, tt.wantGets)
			}
			var o *obstacle
			if !errors.As(err, &o) {
				o = &obstacle{}
			}
			if o.reason != tt.wantObstacle || o.passing != tt.wantPassing {
				t.Errorf("obstacle %q (passing %v), want %q (%v); error: %v", o.reason, o.passing, tt.wantObstacle, tt.wantPassing, err)
			}
		})
	}
}

// After a write the child is not judged until the cache has seen it: the old picture would be written over and over.
func TestEnsureWaitsForItsOwnWrite(t *testing.T) {
	c := newCluster(nil, nil)
	web := sample()
	for range 3 {
		if _, err := c.child.ensure(t.Context(), web, workload.Service(web)); !errors.Is(err, errNotYetSeen) {
			t.Fatalf("error = %v, want errNotYetSeen", err)
		}
	}
	if !slices.Equal(c.decidedOn, []string{"1"}) {
		t.Errorf("writes decided on %q, want one only", c.decidedOn)
	}
	// The cache catches up, and what it shows is not what was written: judged again.
	seen := at("200", service(true, ownedBy("web-uid", "ElasticWeb", "elasticweb.example.com/v1")))
	c.live, c.result = seen, "300"
	_ = c.child.cache.Add(seen)
	if _, err := c.child.ensure(t.Context(), web, workload.Service(web)); !errors.Is(err, errNotYetSeen) {
		t.Fatal(err)
	}
	if !slices.Equal(c.decidedOn, []string{"1", "200"}) {
		t.Errorf("writes decided on %q, want a second one on 200", c.decidedOn)
	}
}

// Defaulting may make something else of what we apply. An apply that changes nothing then says that all is well, once.
func TestEnsureTakesTheClustersWordForIt(t *testing.T) {
	mine := service(true, ownedBy("web-uid", "ElasticWeb", "elasticweb.example.com/v1"))
	c := newCluster(mine, mine)
	c.result = mine.ResourceVersion
	ensure := func(web *v1.ElasticWeb) {
		t.Helper()
		if got, err := c.child.ensure(t.Context(), web, workload.Service(web)); err != nil || got == nil {
			t.Errorf("ensure = %v, %v, want the Service and no error", got, err)
		}
	}
	ensure(sample())
	ensure(sample())
	if !slices.Equal(c.decidedOn, []string{"100"}) {
		t.Errorf("writes decided on %q, want one only", c.decidedOn)
	}
	// Others write the object, too. As long as what we own in it is the same, there is nothing to ask again.
	if err := c.child.cache.Update(at("150", mine)); err != nil {
		t.Fatal(err)
	}
	ensure(sample())
	if !slices.Equal(c.decidedOn, []string{"100"}) {
		t.Errorf("writes decided on %q, want none more for what others wrote", c.decidedOn)
	}
	if err := c.child.cache.Update(mine); err != nil {
		t.Fatal(err)
	}
	changed := sample()
	changed.Spec.ServicePort = 9090
	ensure(changed)
	if !slices.Equal(c.decidedOn, []string{"100", "100"}) {
		t.Errorf("writes decided on %q, want another one for another Service", c.decidedOn)
	}
}

// An orphaning deletion takes the owner away first. Adopted then, the orphan would die with the ElasticWeb.
func TestAnOrphanOfADyingElasticWebIsNotAdopted(t *testing.T) {
	orphan := service(true, nil)
	c := newCluster(orphan, orphan)
	c.dying = errChanged
	if _, err := c.child.ensure(t.Context(), sample(), workload.Service(sample())); !errors.Is(err, errChanged) || len(c.decidedOn) > 0 {
		t.Errorf("error %v and %d writes, want errChanged and none", err, len(c.decidedOn))
	}
}

// Others may add what no apply could hold, such as a name twice; the cluster can compare such an object, and we cannot.
func TestEnsureWritesWhatItCannotCompare(t *testing.T) {
	mine := service(true, ownedBy("web-uid", "ElasticWeb", "elasticweb.example.com/v1"))
	c := newCluster(mine, mine)
	c.child.extract = func(*corev1.Service, string) (*corev1ac.ServiceApplyConfiguration, error) {
		return nil, errors.New("duplicate entries for key")
	}
	if _, err := c.child.ensure(t.Context(), sample(), workload.Service(sample())); !errors.Is(err, errNotYetSeen) || len(c.decidedOn) != 1 {
		t.Errorf("error %v and %d writes, want one write", err, len(c.decidedOn))
	}
}

func at(resourceVersion string, of *corev1.Service) *corev1.Service {
	copied := of.DeepCopy()
	copied.ResourceVersion = resourceVersion
	return copied
}
