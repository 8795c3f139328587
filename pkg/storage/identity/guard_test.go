package identity

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	corev1 "k8s.io/api/core/v1"
	corev1informers "k8s.io/client-go/informers/core/v1"

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

// lead runs the leader's part, and returns the store of objects that it counts.
func (i *installation) lead(t *testing.T, guard *Guard, release func(context.Context) (int, error)) (objects *fake.Clientset, events chan string, stop func()) {
	t.Helper()
	objects = fake.NewClientset()
	informer := corev1informers.NewPodInformer(objects, "", 0, cache.Indexers{})
	ctx, cancel := context.WithCancel(t.Context())
	recorder := record.NewFakeRecorder(10)
	steward := &Steward{Guard: guard, Host: i.host, Objects: informer, Prefix: "/" + t.Name() + "/objects/", Release: release, Events: recorder}
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	running.Go(func() { _ = guard.Run(ctx) })
	running.Go(func() { steward.Run(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("no cache")
	}
	eventually(t, "the fake cluster is watched", func() bool {
		watches := 0
		for _, action := range append(objects.Actions(), i.host.Actions()...) {
			if action.GetVerb() == "watch" {
				watches++
			}
		}
		return watches >= 3
	})
	return objects, recorder.Events, stop
}

func TestAnAcceptedStorageIsTaken(t *testing.T) {
	for _, stored := range []string{none, "other/3", "abc/5"} {
		t.Run(stored, func(t *testing.T) {
			i := newInstallation(t)
			i.store(t, "abc/7")
			i.begin(t)
			i.store(t, stored)
			guard := i.begin(t)
			released := make(chan struct{})
			_, events, _ := i.lead(t, guard, func(context.Context) (int, error) {
				if guard.Verified() == nil {
					t.Error("verified before the children were released")
				}
				close(released)
				return 2, nil
			})
			if event := <-events; !strings.HasPrefix(event, "Warning StorageRefused storage identity: ") {
				t.Errorf("Event %q", event)
			}
			for _, answer := range []string{"other/99", "nonsense", stored} {
				annotated := i.configMap(t)
				annotated.Annotations = map[string]string{AcceptAnnotation: answer}
				if _, err := i.host.CoreV1().ConfigMaps("system").Update(t.Context(), annotated, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				if answer != stored {
					time.Sleep(20 * time.Millisecond)
					if guard.Verified() == nil {
						t.Fatalf("%s was accepted", answer)
					}
				}
			}
			<-released
			eventually(t, "the copy", func() bool { return i.copied(t) == i.stored(t) })
			if _, still := i.configMap(t).Annotations[AcceptAnnotation]; still {
				t.Error("the acceptance was not taken back")
			}
			if event := <-events; !strings.HasPrefix(event, "Normal StorageAccepted accepted "+stored) {
				t.Errorf("Event %q", event)
			}
			// The caches may be of what was there before; a new process serves.
			eventually(t, "a new start is asked for", func() bool { return guard.Confirm(t.Context()) != nil && guard.exchanged() })
			if err := i.begin(t).Verify(t.Context()); err != nil {
				t.Errorf("after a new start: %v", err)
			}
			taken, err := Parse(i.stored(t))
			if err != nil || (stored == "abc/5" && taken.Number <= 7) {
				t.Errorf("taken: %v, %v: what has the old number would pass", taken, err)
			}
		})
	}
}

func TestAStorageIsNotAcceptedBeforeItsChildrenAreReleased(t *testing.T) {
	i := newInstallation(t)
	i.store(t, "abc/7")
	i.begin(t)
	i.store(t, none)
	guard := i.begin(t)
	tried := make(chan struct{}, 100)
	i.lead(t, guard, func(context.Context) (int, error) {
		tried <- struct{}{}
		return 0, errors.New("the cluster is away")
	})
	annotated := i.configMap(t)
	annotated.Annotations = map[string]string{AcceptAnnotation: none}
	if _, err := i.host.CoreV1().ConfigMaps("system").Update(t.Context(), annotated, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	<-tried
	<-tried
	if guard.Verified() == nil || i.stored(t) != none {
		t.Errorf("accepted: %v, stored %s", guard.Verified(), i.stored(t))
	}
}

func TestTheNumberRisesWhenObjectsComeAndGo(t *testing.T) {
	i := newInstallation(t)
	guard := i.begin(t)
	objects, _, stop := i.lead(t, guard, nil)
	first, _ := Parse(i.copied(t))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "y"}}
	if _, err := objects.CoreV1().Pods("x").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the number has risen", func() bool {
		return i.copied(t) == Identity{ID: first.ID, Number: first.Number + 1}.String()
	})
	// The next one would come ten seconds later, and comes before the lease is given away.
	if err := objects.CoreV1().Pods("x").Delete(t.Context(), "y", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if now := i.copied(t); now != (Identity{ID: first.ID, Number: first.Number + 1}).String() {
		t.Errorf("%s: it has risen twice within %v", now, RaisePeriod)
	}
	stop()
	if want := (Identity{ID: first.ID, Number: first.Number + 2}).String(); i.copied(t) != want || i.stored(t) != want {
		t.Errorf("after the stop: stored %s, copied %s, want %s", i.stored(t), i.copied(t), want)
	}
}

// A leader that was killed before the number rose leaves that to the next one, and one that was not leaves nothing.
// A leader with something to count meets another storage, before anybody has looked: it must not become the copy.
func TestAnExchangedStorageIsNotCopied(t *testing.T) {
	for _, stored := range []string{"other/9", "abc/5"} {
		t.Run(stored, func(t *testing.T) {
			i := newInstallation(t)
			i.store(t, "abc/7")
			guard := i.begin(t)
			steward := &Steward{Guard: guard, Host: i.host, copied: guard.newInformer(i.host)}
			i.store(t, stored)
			if err := steward.raise(t.Context()); err == nil {
				t.Error("raised")
			}
			if i.stored(t) != stored || i.copied(t) != "abc/7" || guard.Verified() == nil {
				t.Errorf("stored %s, copied %s, verified: %v", i.stored(t), i.copied(t), guard.Verified())
			}
		})
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

// An acceptance that broke off after the storage had its new identity is completed.
func TestABrokenAcceptanceIsCompleted(t *testing.T) {
	i := newInstallation(t)
	i.store(t, "abc/7")
	i.begin(t)
	i.store(t, "other/8")
	guard := i.begin(t)
	annotated := i.configMap(t)
	annotated.Annotations = map[string]string{AcceptAnnotation: "other/3", acceptingAnnotation: "other/8"}
	if _, err := i.host.CoreV1().ConfigMaps("system").Update(t.Context(), annotated, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	i.lead(t, guard, func(context.Context) (int, error) { return 0, nil })
	eventually(t, "the copy", func() bool { return i.copied(t) == "other/8" })
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

type watchOnly struct {
	apistorage.Interface
	inner watch.Interface
}

func (w watchOnly) Watch(context.Context, string, apistorage.ListOptions) (watch.Interface, error) {
	return w.inner, nil
}

func TestANewTermCountsWhatTheLastOneCouldNot(t *testing.T) {
	i := newInstallation(t)
	put := func() {
		if _, err := i.config.Etcd.Put(t.Context(), "/"+t.Name()+"/objects/"+time.Now().String(), "object"); err != nil {
			t.Fatal(err)
		}
	}
	put()
	i.store(t, "abc/7")
	guard := i.begin(t)
	_, _, stop := i.lead(t, guard, nil)
	stop()
	if stored := i.stored(t); stored != "abc/7" {
		t.Fatalf("%s, although nothing was created since it rose", stored)
	}
	put()
	i.lead(t, guard, nil)
	eventually(t, "the number has risen", func() bool { return i.copied(t) == "abc/8" })
}

func TestACopyThatIsDeletedComesBack(t *testing.T) {
	i := newInstallation(t)
	guard := i.begin(t)
	i.lead(t, guard, nil)
	want := i.copied(t)
	if err := i.host.CoreV1().ConfigMaps("system").Delete(t.Context(), "storage", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy is back", func() bool {
		found, err := i.host.CoreV1().ConfigMaps("system").Get(t.Context(), "storage", metav1.GetOptions{})
		return err == nil && found.Data[dataKey] == want
	})
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
