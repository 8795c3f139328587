package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"elasticweb.example.com/pkg/generated/clientset/versioned"
	"elasticweb.example.com/test/cluster"
)

// shortDir is a folder whose name leaves room for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ew")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "data")
}

// ledger is what writers were told is written: by object, the last number that was acknowledged and the last that was sent.
type ledger struct {
	mu          sync.Mutex
	acked, sent map[string]int
}

// writeUntil creates objects and changes each a few times, until ctx ends. What is written are pairs: a torn write has two halves.
func (l *ledger) writeUntil(ctx context.Context, client versioned.Interface, ns string, writer int) {
	for round := 0; ctx.Err() == nil; round++ {
		name := fmt.Sprintf("w%d-%d-%d", time.Now().UnixNano()%1e9, writer, round)
		for n := range 3 {
			l.note(l.sent, name, n)
			var err error
			if n == 0 {
				w := web(ns, name)
				w.Spec.Paused = true
				w.Annotations = map[string]string{"a": "0", "b": "0"}
				_, err = client.ElasticwebV1().ElasticWebs(ns).Create(ctx, w, metav1.CreateOptions{})
			} else {
				_, err = client.ElasticwebV1().ElasticWebs(ns).Patch(ctx, name, types.MergePatchType,
					fmt.Appendf(nil, `{"metadata":{"annotations":{"a":"%d","b":"%d"}}}`, n, n), metav1.PatchOptions{})
			}
			if err != nil {
				return
			}
			l.note(l.acked, name, n)
		}
	}
}

func (l *ledger) note(in map[string]int, name string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in[name] = n
}

// A server that is killed in the middle of writes has lost none that it acknowledged, and has stored none by half.
func TestAKilledServerLosesNothing(t *testing.T) {
	for _, storage := range []string{"embedded", "external"} {
		t.Run(storage, func(t *testing.T) {
			installAfresh(t)
			ns := plane.Namespace(t)
			var flags []string
			if storage == "embedded" {
				flags = append(lease(), "--data-dir="+shortDir(t))
			} else {
				flags = append(lease(), "--etcd-servers="+newEtcd(t).address)
			}
			l := &ledger{acked: map[string]int{}, sent: map[string]int{}}
			r := serve(t, "killed", flags...)
			kills := either(5, 50)
			for range kills {
				ctx, cancel := context.WithCancel(t.Context())
				var writers sync.WaitGroup
				for writer := range 8 {
					writers.Go(func() { l.writeUntil(ctx, r.web, ns, writer) })
				}
				time.Sleep(time.Duration(100+rand.IntN(500)) * time.Millisecond)
				r.signal(syscall.SIGKILL)
				<-r.exited
				cancel()
				writers.Wait()
				r = start(t, "killed", r.port, flags...)
			}
			stored, err := r.web.ElasticwebV1().ElasticWebs(ns).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]int{}
			for _, object := range stored.Items {
				var n int
				if _, err := fmt.Sscan(object.Annotations["a"], &n); err != nil || object.Annotations["a"] != object.Annotations["b"] {
					t.Errorf("%s is torn: %v", object.Name, object.Annotations)
				}
				if sent, known := l.sent[object.Name]; !known || n > sent {
					t.Errorf("%s has %d, and only %d was ever sent", object.Name, n, sent)
				}
				found[object.Name] = n
			}
			for name, acked := range l.acked {
				if n, there := found[name]; !there || n < acked {
					t.Errorf("%s: %d was acknowledged, and %d is stored (%v)", name, acked, n, there)
				}
			}
			t.Logf("killed %d times: %d objects acknowledged, %d stored", kills, len(l.acked), len(stored.Items))
			if len(l.acked) < 50 {
				t.Error("too few writes to show anything")
			}
		})
	}
}

// From the embedded etcd to an external one: a snapshot, a flag, and nothing is lost or touched. A snapshot that is too old is refused.
func TestGrowingFromEmbeddedToExternal(t *testing.T) {
	installAfresh(t)
	ns := plane.Namespace(t)
	dir := shortDir(t)
	r := serve(t, "embedded", append(lease(), "--data-dir="+dir)...)
	w := create(t, r.web, web(ns, "w1"))
	ready(t, r.web, w, 1)
	old := filepath.Join(t.TempDir(), "old.db")
	// While it runs.
	server(t, "snapshot", "save", old, "--data-dir="+dir)
	ready(t, r.web, create(t, r.web, web(ns, "w2")), 1)
	r.stop()
	final := filepath.Join(t.TempDir(), "final.db")
	server(t, "snapshot", "save", final, "--data-dir="+dir)
	before := workloads(t, ns)

	e := newEtcd(t)
	e.kill()
	e.restore(t, old)
	e.start(t)
	r = launch(t, "too-old", servicePort(t), append(lease(), "--etcd-servers="+e.address)...)
	awaitRefusal(t, r, ns, "the storage is older")
	r.stop()
	e.kill()
	e.restore(t, final)
	e.start(t)
	r = serve(t, "external", append(lease(), "--etcd-servers="+e.address)...)
	allReady(t, r.web, ns, 2)
	provokeCollector(t)
	demand(t, plane.Web, w, 200)
	replicasBecome(t, ns, "w1", 2)
	unharmed(t, ns, before, "in the external etcd")

	// And back: what is restored into a data-dir runs as before.
	back := filepath.Join(t.TempDir(), "back.db")
	r.stop()
	if err := os.Rename(e.save(t), back); err != nil {
		t.Fatal(err)
	}
	again := shortDir(t)
	server(t, "snapshot", "restore", back, "--data-dir="+again)
	r = serve(t, "back", append(lease(), "--data-dir="+again)...)
	allReady(t, r.web, ns, 2)
	unharmed(t, ns, before, "back in an embedded etcd")
}

// Encryption at rest, by the standard flag, shown by the bytes.
func TestObjectsAreEncryptedAtRest(t *testing.T) {
	installAfresh(t)
	ns := plane.Namespace(t)
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	if err := os.WriteFile(config, []byte(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [elasticwebs.elasticweb.example.com]
    providers:
      - aesgcm: {keys: [{name: key1, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}
      - identity: {}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	e := newEtcd(t)
	r := serve(t, "encrypting", append(lease(), "--etcd-servers="+e.address, "--encryption-provider-config="+config, "--encryption-provider-config-automatic-reload")...)
	created := create(t, r.web, web(ns, "web"))
	stored, err := e.client(t).Get(t.Context(), "/registry/elasticweb.example.com/elasticwebs/"+ns+"/web")
	if err != nil || len(stored.Kvs) != 1 {
		t.Fatalf("%v, %d keys", err, len(stored.Kvs))
	}
	if value := string(stored.Kvs[0].Value); value[:len("k8s:enc:aesgcm:v1:key1:")] != "k8s:enc:aesgcm:v1:key1:" {
		t.Errorf("stored as %q", value[:30])
	}
	read, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || read.UID != created.UID {
		t.Errorf("read back: %v", err)
	}
	// What is needed to read and write them is no reason for a restart.
	for path, want := range map[string]bool{"/readyz": true, "/livez": false, "/healthz": false} {
		_, text, err := r.get(t.Context(), path+"?verbose")
		for _, check := range []string{"kms-providers", "etcd", "etcd-readiness"} {
			if strings.Contains(text, "[+]"+check+" ok") != want {
				t.Errorf("%s has the check %s: %v, want %v: %v", path, check, !want, want, err)
			}
		}
	}
	cluster.Eventually(t, "the children", func(ctx context.Context) (bool, string) {
		deployment, service, err := children(ctx, ns, "web")
		return err == nil && deployment != nil && service != nil, fmt.Sprint(err)
	})
}
