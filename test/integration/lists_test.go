package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

func TestPaging(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	for i := range 7 {
		create(t, sample(fmt.Sprintf("web-%d", i)))
	}
	var names []string
	options := metav1.ListOptions{Limit: 3}
	for {
		page, err := client.List(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 0 {
			if page.RemainingItemCount == nil || *page.RemainingItemCount != 4 {
				t.Errorf("remainingItemCount = %v, want 4", page.RemainingItemCount)
			}
			// What comes between the pages is not in them.
			create(t, sample("web-55"))
		}
		for _, web := range page.Items {
			names = append(names, web.Name)
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	if got, want := strings.Join(names, " "), "web-0 web-1 web-2 web-3 web-4 web-5 web-6"; got != want {
		t.Errorf("the pages hold %s, want %s", got, want)
	}
}

func TestLabelSelectorsAndDeleteCollection(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	for i, tier := range []string{"front", "front", "back"} {
		web := sample(fmt.Sprintf("web-%d", i))
		web.Labels = map[string]string{"tier": tier}
		create(t, web)
	}
	if err := client.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "tier=front"}); err != nil {
		t.Fatal(err)
	}
	left, err := client.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 1 || left.Items[0].Name != "web-2" {
		t.Errorf("left are %d (%v), want only web-2", len(left.Items), err)
	}
}

func next(t *testing.T, w watch.Interface, want watch.EventType) watch.Event {
	t.Helper()
	select {
	case event := <-w.ResultChan():
		if event.Type != want {
			t.Fatalf("event %s %+v, want %s", event.Type, event.Object, want)
		}
		return event
	case <-time.After(time.Minute):
		t.Fatalf("no event in a minute, want %s", want)
		return watch.Event{}
	}
}

// A watch that begins with what there is says where that ends: informers of today wait for it.
func TestWatchList(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	for _, name := range []string{"a", "b"} {
		create(t, sample(name))
	}
	w, err := client.Watch(t.Context(), metav1.ListOptions{
		SendInitialEvents: ptr.To(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for _, name := range []string{"a", "b"} {
		if got := next(t, w, watch.Added).Object.(*v1.ElasticWeb).Name; got != name {
			t.Errorf("added %s, want %s", got, name)
		}
	}
	bookmark := next(t, w, watch.Bookmark).Object.(*v1.ElasticWeb)
	if bookmark.Annotations[metav1.InitialEventsAnnotationKey] != "true" || bookmark.ResourceVersion == "" {
		t.Errorf("bookmark %+v, want the end of the initial events", bookmark)
	}
	if _, err := client.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"spec":{"totalQPS":1}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, w, watch.Modified).Object.(*v1.ElasticWeb); *got.Spec.TotalQPS != 1 {
		t.Errorf("modified to %+v", got.Spec)
	}
	if err := client.Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, w, watch.Deleted).Object.(*v1.ElasticWeb); got.Name != "b" {
		t.Errorf("deleted %s, want b", got.Name)
	}
}

// Objects come into and go out of the view of a selector as they change.
func TestWatchByField(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	web := create(t, sample("web"))
	w, err := client.Watch(t.Context(), metav1.ListOptions{FieldSelector: "spec.port=30005", ResourceVersion: web.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for _, step := range []struct {
		patch string
		want  watch.EventType
	}{{`{"spec":{"port":30005}}`, watch.Added}, {`{"spec":{"totalQPS":1}}`, watch.Modified}, {`{"spec":{"port":null}}`, watch.Deleted}} {
		if _, err := client.Patch(t.Context(), "web", types.MergePatchType, []byte(step.patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		next(t, w, step.want)
	}
}

// kubectl get --watch reads tables.
func TestWatchOfTables(t *testing.T) {
	web := create(t, sample("web"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.config.Host+collection(web.Namespace)+"?watch=1&resourceVersion=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", asTable)
	response, err := server.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	table := func() (string, metav1.Table) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the watch ended: %v", lines.Err())
		}
		var event struct {
			Type   string
			Object metav1.Table
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		return event.Type, event.Object
	}
	kind, first := table()
	if kind != "ADDED" || len(first.ColumnDefinitions) != len(first.Rows[0].Cells) || first.Rows[0].Cells[2] != "2400" {
		t.Errorf("first event %s %+v", kind, first)
	}
	if _, err := server.web.ElasticWebs(web.Namespace).Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"totalQPS":1}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	kind, second := table()
	if kind != "MODIFIED" || len(second.ColumnDefinitions) != 0 || second.Rows[0].Cells[2] != "1" {
		t.Errorf("second event %s %+v, want one row and the columns not again", kind, second)
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	dry := []string{metav1.DryRunAll}
	if _, err := client.Create(t.Context(), sample("web"), metav1.CreateOptions{DryRun: dry}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run created: %v", err)
	}
	web := create(t, sample("web"))
	changed, err := client.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"totalQPS":1}}`), metav1.PatchOptions{DryRun: dry})
	if err != nil || *changed.Spec.TotalQPS != 1 || changed.Generation != 2 {
		t.Errorf("a dry run answers %+v (%v), want what would be", changed, err)
	}
	if err := client.Delete(t.Context(), "web", metav1.DeleteOptions{DryRun: dry}); err != nil {
		t.Fatal(err)
	}
	if now, err := client.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || now.ResourceVersion != web.ResourceVersion {
		t.Errorf("a dry run was stored: %v", err)
	}
}

// A deletion that waits for a finalizer raises the generation once, and is seen.
func TestDeletionRaisesTheGenerationOnce(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	web := sample("web")
	web.Finalizers = []string{"example.com/hold"}
	create(t, web)
	for range 2 {
		if err := client.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	web, err := client.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || web.DeletionTimestamp == nil || web.Generation != 2 {
		t.Errorf("generation %d, deletionTimestamp %v (%v), want 2 and one", web.Generation, web.DeletionTimestamp, err)
	}
	if _, err := client.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestClientsThatKnowNothingOfTheKind(t *testing.T) {
	ns := namespace(t)
	create(t, sample("web"))
	anything, err := dynamic.NewForConfig(server.config)
	if err != nil {
		t.Fatal(err)
	}
	object, err := anything.Resource(v1.SchemeGroupVersion.WithResource("elasticwebs")).Namespace(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || object.GetKind() != "ElasticWeb" {
		t.Errorf("the dynamic client gets %v (%v)", object, err)
	}
	metadatas, err := metadata.NewForConfig(server.config)
	if err != nil {
		t.Fatal(err)
	}
	list, err := metadatas.Resource(v1.SchemeGroupVersion.WithResource("elasticwebs")).Namespace(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "web" {
		t.Errorf("the metadata client lists %v (%v)", list, err)
	}
}

// The user hears of what is legal and probably not meant, on a change of the spec and not on others.
func TestWarningsReachTheUser(t *testing.T) {
	ns := namespace(t)
	warning := func(method, path, contentType, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, server.config.Host+collection(ns)+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		response, err := server.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode >= 300 {
			t.Fatalf("%s %s: %s", method, path, response.Status)
		}
		return strings.Join(response.Header.Values("Warning"), "\n")
	}
	body := strings.Replace(string(encoded(t, asJSON)), "nginx:1.17.1", "nginx", 1)
	if got := warning(http.MethodPost, "", asJSON, body); !strings.Contains(got, "spec.image: ") {
		t.Errorf("warnings %q, want one on spec.image", got)
	}
	if got := warning(http.MethodPatch, "/web", string(types.MergePatchType), `{"metadata":{"labels":{"a":"b"}}}`); got != "" {
		t.Errorf("a label warns of %q", got)
	}
	if got := warning(http.MethodPatch, "/web", string(types.MergePatchType), `{"spec":{"maxReplicas":2}}`); !strings.Contains(got, "spec.image: ") || !strings.Contains(got, "spec.maxReplicas: 2 Pods cannot carry totalQPS 2400") {
		t.Errorf("warnings %q, want two", got)
	}
}
