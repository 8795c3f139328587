package fault

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elasticweb.example.com/test/cluster"
)

// A server that is full of objects says so to whoever writes, lets them be read and deleted, and goes on when there is room.
func TestAFullStorageIsReadAndTidied(t *testing.T) {
	installAfresh(t)
	ns := plane.Namespace(t)
	r := serve(t, "full", append(lease(), "--data-dir="+shortDir(t), "--embedded-etcd-quota-backend-bytes=16777216")...)
	webs := r.web.ElasticwebV1().ElasticWebs(ns)
	large := func(i int) error {
		w := web(ns, fmt.Sprint("large", i))
		w.Spec.Paused = true
		w.Annotations = map[string]string{"example.com/padding": strings.Repeat("x", 200<<10)}
		_, err := webs.Create(t.Context(), w, metav1.CreateOptions{})
		return err
	}
	stored := 0
	var refused error
	for ; refused == nil && stored < 500; stored++ {
		refused = large(stored)
	}
	stored--
	if !apierrors.IsServiceUnavailable(refused) || !strings.Contains(refused.Error(), "the storage is full (etcd's quota is exceeded)") {
		t.Fatalf("after %d objects: %v, want a 503 that says why", stored, refused)
	}
	if code, text, err := r.get(t.Context(), "/readyz"); err != nil || code != 200 {
		t.Errorf("/readyz: %d %v %s: who reads has no other server to go to", code, err, text)
	}
	// The write by which etcd notices is stored, although etcd answers it so: whoever gets a 503 does not know.
	if list, err := webs.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != stored && len(list.Items) != stored+1 {
		t.Fatalf("list: %v, %d objects, want %d or one more", err, len(list.Items), stored)
	}
	for i := range stored * 2 / 3 {
		if err := webs.Delete(t.Context(), fmt.Sprint("large", i), metav1.DeleteOptions{}); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	cluster.Eventually(t, "a write to succeed", func(context.Context) (bool, string) {
		err := large(stored + 1)
		return err == nil, fmt.Sprint(err)
	})
}
