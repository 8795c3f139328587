package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/test/cluster"
)

const (
	// Of the objects each has a writer, twice a second; ten times as often as all of them somebody reads. So it is 100 requests a second.
	objects  = 10
	readers  = 8
	watchers = 50
	// step is the annotation that a writer raises by one.
	step = "step"
)

// clients use the API through the aggregation layer as many do at once, and look at all that they are told: what was acknowledged is
// read from then on, and a watch, resumed where it ended, sees each change once and in order. None of them tries anything again by itself.
type clients struct {
	namespace string
	http      *http.Client
	host      string
	stop      func()
	// acknowledged is the step of each object that its writer has the server's word for.
	acknowledged         [objects]atomic.Int64
	reads, writes, ended atomic.Int64
	seen                 [watchers]*history

	mu       sync.Mutex
	failures []failure
	wrong    []string
}

// failure is a request that was not answered as it should be.
type failure struct {
	at                  time.Time
	verb, auditID, text string
	status              int
	// undone: it is known that it changed nothing.
	undone bool
}

func (f failure) String() string {
	return fmt.Sprintf("%s %s: %d %s (Audit-ID %s, known to have changed nothing: %v)", f.at.Format("15:04:05.000"), f.verb, f.status, f.text, f.auditID, f.undone)
}

// lostToGoAway: a request with a body, sent on a connection that was being closed, cannot be repeated by kube-apiserver's proxy, and
// never reached a server (kubernetes/kubernetes#135285).
func (f failure) lostToGoAway() bool {
	return f.verb == http.MethodPatch && f.status == http.StatusServiceUnavailable && f.undone && strings.Contains(f.text, "GOAWAY")
}

func name(object int) string { return fmt.Sprintf("web-%d", object) }

// startClients makes the objects, which have no Pods, and returns when all clients are at work.
func startClients(t *testing.T) *clients {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", node.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c := &clients{namespace: node.Namespace(t), host: config.Host}
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		t.Fatal(err)
	}
	for i := range objects {
		apply(t, fmt.Sprintf(`{"apiVersion": "elasticweb.example.com/v1", "kind": "ElasticWeb", "metadata": {"name": %q, "namespace": %q, "annotations": {"step": "0"}},
			"spec": {"image": "localhost/web:v1", "singlePodsQPS": 100, "totalQPS": 0, "serviceType": "ClusterIP"}}`, name(i), c.namespace))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	watching, endWatches := context.WithCancel(ctx)
	var using, looking sync.WaitGroup
	c.stop = sync.OnceFunc(func() {
		cancel()
		using.Wait()
		endWatches()
		looking.Wait()
	})
	t.Cleanup(c.stop)
	list, err := node.Web.ElasticwebV1().ElasticWebs(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range watchers {
		c.seen[i] = newHistory(list)
		looking.Go(func() { c.watch(watching, c.seen[i]) })
	}
	for i := range objects {
		using.Go(func() { every(ctx, 500*time.Millisecond, func() { c.write(ctx, i) }) })
	}
	for range readers {
		using.Go(func() { every(ctx, 100*time.Millisecond, func() { c.read(ctx, rand.IntN(objects)) }) })
	}
	return c
}

// every calls f again and again, beginning at some moment of the interval.
func every(ctx context.Context, interval time.Duration, f func()) {
	time.Sleep(rand.N(interval))
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-ctx.Done():
		case <-ticks.C:
		}
	}
}

// answered is what is looked at in an answer.
type answered struct {
	Metadata struct{ Annotations map[string]string }
	Items    []struct{ Metadata metav1.ObjectMeta }
	Message  string
}

func stepOf(annotations map[string]string) int64 {
	n, _ := strconv.ParseInt(annotations[step], 10, 64)
	return n
}

// request sends one request. A request that the test itself calls off is none.
func (c *clients) request(ctx context.Context, verb, object string, body []byte) (*answered, *failure) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, verb, fmt.Sprintf("%s/apis/elasticweb.example.com/v1/namespaces/%s/elasticwebs/%s", c.host, c.namespace, object), bytes.NewReader(body))
	if err != nil {
		return nil, &failure{at: time.Now(), verb: verb, text: err.Error()}
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, &failure{at: time.Now(), verb: verb, text: err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	got := &answered{}
	if err == nil && response.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, got)
	}
	if err == nil && response.StatusCode == http.StatusOK {
		return got, nil
	}
	return nil, &failure{at: time.Now(), verb: verb, status: response.StatusCode, auditID: response.Header.Get("Audit-ID"), text: strings.Join(append(strings.Fields(string(text)), fmt.Sprint(err)), " ")}
}

// write raises the step of an object. If that fails, it finds out whether it was done.
func (c *clients) write(ctx context.Context, object int) {
	// What has begun is done to the end, or nobody would know.
	ctx = context.WithoutCancel(ctx)
	before := c.acknowledged[object].Load()
	_, failed := c.request(ctx, http.MethodPatch, name(object), fmt.Appendf(nil, `{"metadata":{"annotations":{"step":"%d"}}}`, before+1))
	c.writes.Add(1)
	if failed == nil {
		c.acknowledged[object].Store(before + 1)
		return
	}
	deadline := time.Now().Add(cluster.Limit)
	for time.Now().Before(deadline) {
		got, unknown := c.request(ctx, http.MethodGet, name(object), nil)
		if unknown != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		now := stepOf(got.Metadata.Annotations)
		failed.undone = now == before
		c.acknowledged[object].Store(now)
		if now != before && now != before+1 {
			c.report("%s is at %d after a write of %d", name(object), now, before+1)
		}
		break
	}
	c.fail(*failed)
}

// read reads one object, or all of them.
func (c *clients) read(ctx context.Context, object int) {
	var least [objects]int64
	for i := range least {
		least[i] = c.acknowledged[i].Load()
	}
	path, all := name(object), rand.IntN(5) == 0
	if all {
		path = ""
	}
	got, failed := c.request(ctx, http.MethodGet, path, nil)
	if ctx.Err() != nil {
		return
	}
	c.reads.Add(1)
	switch {
	case failed != nil:
		c.fail(*failed)
	case !all:
		if now := stepOf(got.Metadata.Annotations); now < least[object] {
			c.report("%s was read at %d, after %d had been acknowledged", name(object), now, least[object])
		}
	case len(got.Items) != objects:
		c.report("%d objects listed", len(got.Items))
	default:
		for i, item := range got.Items {
			if now := stepOf(item.Metadata.Annotations); item.Metadata.Name != name(i) || now < least[i] {
				c.report("%s was listed at %d, after %d had been acknowledged", item.Metadata.Name, now, least[i])
			}
		}
	}
}

func (c *clients) fail(f failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, f)
}

// report notes what must never be seen, whatever happens to the servers.
func (c *clients) report(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// history is what one watch has seen.
type history struct {
	mu       sync.Mutex
	revision uint64
	steps    map[string]int64
}

func newHistory(list *v1.ElasticWebList) *history {
	h := &history{steps: map[string]int64{}}
	h.revision, _ = strconv.ParseUint(list.ResourceVersion, 10, 64)
	for i := range list.Items {
		h.steps[list.Items[i].Name] = stepOf(list.Items[i].Annotations)
	}
	return h
}

// watch watches, from where the last one ended.
func (c *clients) watch(ctx context.Context, h *history) {
	for ctx.Err() == nil {
		options := metav1.ListOptions{Watch: true, ResourceVersion: strconv.FormatUint(h.revision, 10), AllowWatchBookmarks: true}
		w, err := node.Web.ElasticwebV1().RESTClient().Get().MaxRetries(0).Namespace(c.namespace).Resource("elasticwebs").
			VersionedParams(&options, metav1.ParameterCodec).Watch(ctx)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				c.fail(failure{at: time.Now(), verb: "watch", text: err.Error()})
			}
			time.Sleep(100 * time.Millisecond)
			continue
		}
		for event := range w.ResultChan() {
			if status, broken := event.Object.(*metav1.Status); broken {
				c.fail(failure{at: time.Now(), verb: "watch", status: int(status.Code), text: status.Message})
				continue
			}
			if wrong := h.see(event); wrong != "" {
				c.report("a watch: %s", wrong)
			}
		}
		if ctx.Err() == nil {
			c.ended.Add(1)
		}
	}
}

// see returns what is wrong about an event.
func (h *history) see(event watch.Event) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	web := event.Object.(*v1.ElasticWeb)
	before := h.revision
	revision, err := strconv.ParseUint(web.ResourceVersion, 10, 64)
	h.revision = max(revision, before)
	if event.Type == watch.Bookmark {
		return ""
	}
	last, now := h.steps[web.Name], stepOf(web.Annotations)
	h.steps[web.Name] = now
	// The controller's writes do not raise it.
	if err != nil || event.Type != watch.Modified || revision <= before || now != last && now != last+1 {
		return fmt.Sprintf("%s %s at %d, after %d; revision %s, after %d", event.Type, web.Name, now, last, web.ResourceVersion, before)
	}
	return ""
}

// settled returns the failures since the last call, once nothing has failed for two seconds.
func (c *clients) settled(t *testing.T) (failures []failure) {
	t.Helper()
	quiet := time.Now()
	count := 0
	cluster.Eventually(t, "two seconds without a failure", func(context.Context) (bool, string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.failures) > count {
			count, quiet = len(c.failures), time.Now()
			return false, fmt.Sprint(c.failures[count-1])
		}
		return time.Since(quiet) > 2*time.Second, "quiet"
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	failures, c.failures = c.failures, nil
	return failures
}

// finish ends the clients when every watch has seen all that was written.
func (c *clients) finish(t *testing.T) {
	t.Helper()
	want := map[string]int64{}
	cluster.Eventually(t, "every watch to have seen all", func(context.Context) (bool, string) {
		for i := range objects {
			want[name(i)] = c.acknowledged[i].Load()
		}
		var behind []string
		for _, h := range c.seen {
			h.mu.Lock()
			steps, revision := maps.Clone(h.steps), h.revision
			h.mu.Unlock()
			for object, reached := range want {
				if steps[object] < reached {
					behind = append(behind, fmt.Sprintf("%s is at %d, seen at %d, by a watch at revision %d", object, reached, steps[object], revision))
					break
				}
			}
		}
		return len(behind) == 0, fmt.Sprintf("%d of %d: %v", len(behind), watchers, behind)
	})
	c.stop()
	t.Logf("%d reads, %d writes, %d ends of a watch", c.reads.Load(), c.writes.Load(), c.ended.Load())
	for _, wrong := range c.wrong {
		t.Error(wrong)
	}
}
