package identity

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

// lead runs the leader's part, and returns the store of objects that it counts, in which one is old.
func (i *installation) lead(t *testing.T, guard *Guard, release func(context.Context) (int, error)) (objects *fake.Clientset, events chan string, stop func()) {
	t.Helper()
	objects = fake.NewClientset(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "old"}})
	informer := corev1informers.NewPodInformer(objects, "", 0, cache.Indexers{})
	i.counted = informer.GetStore()
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
	eventually(t, "the deletion is seen", func() bool {
		_, there, _ := i.counted.GetByKey("x/y")
		return !there
	})
	time.Sleep(50 * time.Millisecond)
	if now := i.copied(t); now != (Identity{ID: first.ID, Number: first.Number + 1}).String() {
		t.Errorf("%s: it has risen twice within %v", now, RaisePeriod)
	}
	stop()
	if want := (Identity{ID: first.ID, Number: first.Number + 2}).String(); i.copied(t) != want || i.stored(t) != want {
		t.Errorf("after the stop: stored %s, copied %s, want %s", i.stored(t), i.copied(t), want)
	}
}

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

// A leader that was killed before the number rose leaves that to the next one, and one that was not leaves nothing.
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
