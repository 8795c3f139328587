package controller

import (
	"testing"

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
			if got, err := c.stale(t.Context()); err != nil || got != tt.want {
				t.Errorf("stale is %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}
