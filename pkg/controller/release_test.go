package controller

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/metadata/fake"
)

func TestReleaseTakesOnlyTheOwnersThatAreGone(t *testing.T) {
	scheme := fake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	child := func(apiVersion, kind, name string, owners ...metav1.OwnerReference) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: kind},
			ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: name, OwnerReferences: owners},
		}
	}
	ours := func(uid types.UID) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: "elasticweb.example.com/v1", Kind: "ElasticWeb", Name: "web", UID: uid}
	}
	other := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "other", UID: "other"}
	foreign := metav1.OwnerReference{APIVersion: "elasticweb.com/v1", Kind: "ElasticWeb", Name: "web", UID: "foreign"}
	client := fake.NewSimpleMetadataClient(scheme,
		child("apps/v1", "Deployment", "lost", ours("gone"), other), child("v1", "Service", "lost", ours("gone")),
		child("apps/v1", "Deployment", "kept", ours("lives")), child("v1", "Service", "foreign", foreign), child("v1", "Service", "free"))

	released, err := Release(t.Context(), client, sets.New[types.UID]("lives"))
	if err != nil || released != 2 {
		t.Fatalf("released %d, %v, want 2", released, err)
	}
	for _, want := range []struct {
		kind   int
		name   string
		owners int
	}{{0, "lost", 1}, {1, "lost", 0}, {0, "kept", 1}, {1, "foreign", 1}, {1, "free", 0}} {
		found, err := client.Resource(childKinds[want.kind]).Namespace("dev").Get(t.Context(), want.name, metav1.GetOptions{})
		if err != nil || len(found.OwnerReferences) != want.owners {
			t.Errorf("%s %s: owners %v, %v, want %d", childKinds[want.kind].Resource, want.name, found.OwnerReferences, err, want.owners)
		}
	}
}
