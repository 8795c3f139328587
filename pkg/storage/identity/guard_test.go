package identity

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"elasticweb.example.com/pkg/storage/embedded"
)

var etcd = sync.OnceValues(func() (*clientv3.Client, error) {
	dir, err := os.MkdirTemp("", "id")
	if err != nil {
		return nil, err
	}
	server, err := embedded.Start(context.Background(), embedded.Config{Dir: filepath.Join(dir, "d")})
	if err != nil {
		return nil, err
	}
	stopEtcd = func() { server.Close(); _ = os.RemoveAll(dir) }
	return clientv3.New(clientv3.Config{Endpoints: []string{server.Endpoint()}})
})

var stopEtcd = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopEtcd()
	os.Exit(code)
}

// installation is a storage, a key of the one etcd, and a cluster with the copy.
type installation struct {
	config Config
	host   *fake.Clientset
	// counted has the objects that the leader counts.
	counted cache.Store
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	client, err := etcd()
	if err != nil {
		t.Fatal(err)
	}
	host := fake.NewClientset()
	return &installation{host: host, config: Config{Etcd: client, Key: "/" + t.Name() + "/identity", Host: host, Namespace: "system", Name: "storage"}}
}

func (i *installation) begin(t *testing.T) *Guard {
	t.Helper()
	guard := New(i.config)
	if err := guard.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return guard
}

func (i *installation) stored(t *testing.T) string {
	t.Helper()
	response, err := i.config.Etcd.Get(t.Context(), i.config.Key)
	if err != nil || len(response.Kvs) == 0 {
		return none
	}
	return string(response.Kvs[0].Value)
}

// store puts an identity into the storage, or takes it out.
func (i *installation) store(t *testing.T, identity string) {
	t.Helper()
	var err error
	if identity == none {
		_, err = i.config.Etcd.Delete(t.Context(), i.config.Key)
	} else {
		_, err = i.config.Etcd.Put(t.Context(), i.config.Key, identity)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (i *installation) configMap(t *testing.T) *corev1.ConfigMap {
	t.Helper()
	found, err := i.host.CoreV1().ConfigMaps("system").Get(t.Context(), "storage", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// copy changes the copy.
func (i *installation) copy(t *testing.T, identity string) {
	t.Helper()
	current := i.configMap(t)
	current.Data[dataKey] = identity
	if _, err := i.host.CoreV1().ConfigMaps("system").Update(t.Context(), current, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (i *installation) copied(t *testing.T) string { return i.configMap(t).Data[dataKey] }

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("never: %s", what)
	}
}

func TestAFirstInstallGivesAnIdentity(t *testing.T) {
	i := newInstallation(t)
	if err := i.begin(t).Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stored := i.stored(t); stored == none || stored != i.copied(t) {
		t.Errorf("stored %q, copied %q", stored, i.copied(t))
	}
	// A second replica, and every later start, find it.
	before := i.stored(t)
	if err := i.begin(t).Verify(t.Context()); err != nil || i.stored(t) != before {
		t.Errorf("at the second start: %v; %q became %q", err, before, i.stored(t))
	}
}

func TestALostCopyIsWrittenAgain(t *testing.T) {
	i := newInstallation(t)
	i.store(t, "abc/7")
	if err := i.begin(t).Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if i.copied(t) != "abc/7" {
		t.Errorf("copied %q", i.copied(t))
	}
}

func TestAStorageThatIsNotTheOneIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ stored, want string }{
		"wiped":       {none, "it is empty, was wiped, or is another one"},
		"exchanged":   {"other/9", "the storage is another one"},
		"rolled back": {"abc/6", "the storage is older"},
		"the same":    {"abc/7", ""},
		"ahead":       {"abc/8", ""},
	} {
		for when, running := range map[string]bool{"at the start": false, "while running": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				i := newInstallation(t)
				i.store(t, "abc/7")
				guard := i.begin(t)
				if !running {
					i.store(t, test.stored)
					guard = i.begin(t)
				} else if err := guard.Verify(t.Context()); err != nil {
					t.Fatal(err)
				}
				i.store(t, test.stored)
				// Before it is said that an object does not exist.
				err := guard.Confirm(t.Context())
				if test.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("error = %v, want one that says %q", err, test.want)
				}
				for _, part := range []string{
					"kubectl annotate configmap -n system storage --overwrite elasticweb.example.com/accept-storage=" + test.stored,
					"restore the right data", "abc/7",
				} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("the error does not say %q: %v", part, err)
					}
				}
				// And from then on nothing is answered at all.
				if guard.Verified() == nil {
					t.Error("still verified")
				}
			})
		}
	}
}

func TestANewConnectionIsLookedAt(t *testing.T) {
	i := newInstallation(t)
	guard := i.begin(t)
	if guard.Verified() != nil {
		t.Fatal("not verified")
	}
	i.store(t, "other/1")
	guard.Suspect()
	if guard.Verified() == nil {
		t.Error("verified, although a new connection was not looked at")
	}
	if err := guard.Verify(t.Context()); err == nil {
		t.Error("the exchanged storage passed")
	}
}

// Caches may be of the other storage, and etcd tells a watch nothing that waits for a revision of the future.
func TestAStorageThatWasExchangedMeansANewStart(t *testing.T) {
	i := newInstallation(t)
	i.store(t, "abc/7")
	guard := i.begin(t)
	ended := make(chan error, 1)
	go func() { ended <- guard.Run(t.Context()) }()
	i.store(t, "other/1")
	guard.Suspect()
	eventually(t, "refused", func() bool {
		var refusal *Refusal
		return errors.As(guard.Verified(), &refusal)
	})
	i.store(t, "abc/7")
	if err := <-ended; !errors.Is(err, ErrExchanged) {
		t.Errorf("Run returned %v", err)
	}
	if guard.Verified() == nil {
		t.Error("verified, although the caches are of another storage")
	}
}

func TestAStorageThatCannotBeReadIsNotVerified(t *testing.T) {
	i := newInstallation(t)
	guard := i.begin(t)
	i.store(t, "damaged")
	guard.Suspect()
	if err := guard.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), `"damaged" is no storage identity`) {
		t.Errorf("error = %v", err)
	}
}

// The process itself has seen a number that the copy does not have yet.
func TestWhatWasSeenCounts(t *testing.T) {
	i := newInstallation(t)
	i.store(t, "abc/7")
	guard := i.begin(t)
	i.store(t, "abc/9")
	if err := guard.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.store(t, "abc/8")
	if err := guard.Confirm(t.Context()); err == nil {
		t.Error("rolled back to a number that is not below the copy's, and not refused")
	}
}

// What a watch tells of an exchanged storage is as good as a 404.
func TestWatchesEndWhenThereIsADoubt(t *testing.T) {
	i := newInstallation(t)
	guard := i.begin(t)
	inner := watch.NewFake()
	storage := &guarded{Interface: watchOnly{inner: inner}, guard: guard}
	watched, err := storage.Watch(t.Context(), "/", apistorage.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	guard.Suspect()
	if _, open := <-watched.ResultChan(); open {
		t.Error("an event after the doubt")
	}
	watched.Stop()
	i.store(t, "other/1")
	if _, err := storage.Watch(t.Context(), "/", apistorage.ListOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a new watch: %v", err)
	}
}

// While objects come and go the number rises every few seconds, in the storage first: that ends no watch. A copy that rises alone is
// that of another storage.
func TestARiseIsNoDoubt(t *testing.T) {
	i := newInstallation(t)
	i.store(t, "abc/7")
	guard := i.begin(t)
	go func() { _ = guard.Run(t.Context()) }()
	inner := watch.NewFake()
	storage := &guarded{Interface: watchOnly{inner: inner}, guard: guard}
	watched, err := storage.Watch(t.Context(), "/", apistorage.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	i.store(t, "abc/8")
	i.copy(t, "abc/8")
	eventually(t, "the storage is looked at", func() bool {
		guard.mu.Lock()
		defer guard.mu.Unlock()
		return guard.found.Number == 8
	})
	go inner.Modify(&corev1.Pod{})
	if _, open := <-watched.ResultChan(); !open {
		t.Fatal("the watch has ended")
	}
	i.copy(t, "abc/9")
	if _, open := <-watched.ResultChan(); open {
		t.Error("an event of a storage that is older than the copy")
	}
	if err := guard.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "older") {
		t.Errorf("error = %v", err)
	}
}

// The number rises, and the copy with it, while an answer of the storage is on its way: it is not older for that.
func TestARiseDuringALookIsNoRollback(t *testing.T) {
	i := newInstallation(t)
	i.store(t, "abc/7")
	client, err := clientv3.New(clientv3.Config{Endpoints: i.config.Etcd.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	other := i.config.Etcd
	i.config.Etcd = client
	guard := i.begin(t)
	i.config.Etcd = other
	risen := Identity{ID: "abc", Number: 7}
	client.KV = &delayed{KV: client.KV, afterGet: func() {
		risen.Number++
		i.store(t, risen.String())
		i.copy(t, risen.String())
		if err := guard.learn(i.configMap(t)); err != nil {
			t.Error(err)
		}
	}}
	if err := guard.Confirm(t.Context()); err != nil {
		t.Errorf("refused: %v", err)
	}
	steward := &Steward{Guard: guard, Host: i.host, copied: guard.newInformer(i.host)}
	if err := steward.raise(t.Context()); err == nil || !strings.Contains(err.Error(), "by somebody else") {
		t.Errorf("error = %v", err)
	}
}

// delayed lets something happen between the answer of etcd and its arrival.
type delayed struct {
	clientv3.KV
	afterGet func()
}

func (d *delayed) Get(ctx context.Context, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	response, err := d.KV.Get(ctx, key, options...)
	d.afterGet()
	return response, err
}

// A new connection to the right storage is no reason to refuse a watch that begins just then.
func TestAWatchOutlivesADoubtThatComesWhileItBegins(t *testing.T) {
	i := newInstallation(t)
	guard := i.begin(t)
	begun := 0
	storage := &guarded{guard: guard, Interface: watchOnly{inner: watch.NewFake(), begins: func() {
		if begun++; begun == 1 {
			guard.Suspect()
		}
	}}}
	watched, err := storage.Watch(t.Context(), "/", apistorage.ListOptions{})
	if err != nil || begun != 2 {
		t.Fatalf("error %v, begun %d times, want twice", err, begun)
	}
	watched.Stop()
}

type watchOnly struct {
	apistorage.Interface
	inner  watch.Interface
	begins func()
}

func (w watchOnly) Watch(context.Context, string, apistorage.ListOptions) (watch.Interface, error) {
	if w.begins != nil {
		w.begins()
	}
	return w.inner, nil
}

func TestParse(t *testing.T) {
	for _, text := range []string{"", "abc", "abc/", "/1", "abc/-1", "abc/x", "abc/0"} {
		if identity, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v", text, identity)
		}
	}
	for _, text := range []string{none, "abc/1"} {
		if identity, err := Parse(text); err != nil || identity.String() != text {
			t.Errorf("Parse(%q) = %v, %v", text, identity, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// What the controller knows may be of another storage: it reads on, and writes no child.
func TestNothingIsWrittenWhileTheStorageIsRefused(t *testing.T) {
	i := newInstallation(t)
	i.store(t, "abc/7")
	right := i.begin(t)
	i.store(t, none)
	wrong := i.begin(t)
	for guard, allows := range map[*Guard]bool{right: true, wrong: false} {
		sent := 0
		transport := guard.Transport(roundTripper(func(*http.Request) (*http.Response, error) {
			sent++
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		}))
		for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodPost, http.MethodPut, http.MethodDelete} {
			request, err := http.NewRequestWithContext(t.Context(), method, "http://host", io.NopCloser(strings.NewReader("{}")))
			if err != nil {
				t.Fatal(err)
			}
			before := sent
			response, err := transport.RoundTrip(request)
			if err == nil {
				_ = response.Body.Close()
			}
			if want := allows || method == http.MethodGet; (err == nil) != want || (sent > before) != want {
				t.Errorf("%s, storage right: %v: sent %v, %v", method, allows, sent > before, err)
			}
		}
	}
}
