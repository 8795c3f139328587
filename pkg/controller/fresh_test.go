package controller

import (
	"errors"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/generated/clientset/versioned/fake"
)

func TestStale(t *testing.T) {
	at := func(name, version string) *v1.ElasticWeb {
		web := sample()
		web.Name, web.ResourceVersion = name, version
		return web
	}
	tests := []struct {
		name   string
		cached []*v1.ElasticWeb
		listed []v1.ElasticWeb
		want   string
	}{
		{name: "the same", cached: []*v1.ElasticWeb{at("a", "5")}, listed: []v1.ElasticWeb{*at("a", "5")}},
		{name: "the cache is ahead", cached: []*v1.ElasticWeb{at("a", "12")}, listed: []v1.ElasticWeb{*at("a", "5")}},
		{name: "created since", cached: []*v1.ElasticWeb{at("a", "5"), at("b", "12")}, listed: []v1.ElasticWeb{*at("a", "5")}},
		{name: "changed", cached: []*v1.ElasticWeb{at("a", "5")}, listed: []v1.ElasticWeb{*at("a", "6")}, want: "dev/a"},
		{name: "created", listed: []v1.ElasticWeb{*at("a", "6")}, want: "dev/a"},
		{name: "deleted", cached: []*v1.ElasticWeb{at("a", "5")}, want: "dev/a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := newController(t, at("other", "1"), corev1.NamespaceActive)
			store := c.config.Informers.Elasticweb().V1().ElasticWebs().Informer().GetIndexer()
			if err := store.Replace(nil, ""); err != nil {
				t.Fatal(err)
			}
			for _, web := range tt.cached {
				if err := store.Add(web); err != nil {
					t.Fatal(err)
				}
			}
			c.config.ElasticWebs.(*fake.Clientset).PrependReactor("list", "elasticwebs", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, &v1.ElasticWebList{ListMeta: metav1.ListMeta{ResourceVersion: "10"}, Items: tt.listed}, nil
			})
			got, err := c.stale(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" && got.Len() > 0 || tt.want != "" && (got.Len() != 1 || got.UnsortedList()[0].String() != tt.want) {
				t.Errorf("stale is %v, want %q", got, tt.want)
			}
		})
	}
}

// A term waits for what is stale when it begins, and not for what comes later.
func TestAwaitFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := sample()
		a.Name, a.ResourceVersion = "a", "6"
		old := a.DeepCopy()
		old.ResourceVersion = "5"
		c, _ := newController(t, old, corev1.NamespaceActive)
		defer c.drain()
		store := c.config.Informers.Elasticweb().V1().ElasticWebs().Informer().GetIndexer()
		lists := 0
		c.config.ElasticWebs.(*fake.Clientset).PrependReactor("list", "elasticwebs", func(clienttesting.Action) (bool, runtime.Object, error) {
			lists++
			switch lists {
			case 1:
				return true, nil, errors.New("not yet")
			case 2:
				return true, &v1.ElasticWebList{ListMeta: metav1.ListMeta{ResourceVersion: "10"}, Items: []v1.ElasticWeb{*a}}, nil
			}
			// The watch has caught up with that, but never does with who is created all the time.
			if err := store.Update(a); err != nil {
				t.Error(err)
			}
			if lists > 3 {
				t.Error("it waits for what came later")
				return true, &v1.ElasticWebList{ListMeta: metav1.ListMeta{ResourceVersion: "20"}, Items: []v1.ElasticWeb{*a}}, nil
			}
			late := a.DeepCopy()
			late.Name = "late"
			return true, &v1.ElasticWebList{ListMeta: metav1.ListMeta{ResourceVersion: "20"}, Items: []v1.ElasticWeb{*a, *late}}, nil
		})
		if err := c.awaitFresh(t.Context()); err != nil || lists != 3 {
			t.Errorf("fresh after %d lists (%v), want 3", lists, err)
		}
	})
}
