package fault

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elasticweb.example.com/test/cluster"
)

// etcd is one of a test's own, with an address and a folder that outlive its process.
type etcd struct {
	address, peer, dir string
	command            *exec.Cmd
	exited             chan struct{}
}

func newEtcd(t testing.TB) *etcd {
	t.Helper()
	e := &etcd{
		address: fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
		peer:    fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
		dir:     filepath.Join(t.TempDir(), "etcd"),
	}
	e.start(t)
	t.Cleanup(e.kill)
	return e
}

func (e *etcd) start(t testing.TB) {
	t.Helper()
	binary, err := filepath.Abs(filepath.Join(cluster.Root, "bin", "localcluster"))
	if err != nil {
		t.Fatal(err)
	}
	e.command = exec.Command(binary, "etcd", "--name=own", "--data-dir="+e.dir,
		"--listen-client-urls="+e.address, "--advertise-client-urls="+e.address,
		"--listen-peer-urls="+e.peer, "--initial-advertise-peer-urls="+e.peer, "--initial-cluster=own="+e.peer, "--log-level=error")
	e.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.command.Start(); err != nil {
		t.Fatal(err)
	}
	e.exited = make(chan struct{})
	go func(command *exec.Cmd, exited chan struct{}) {
		_ = command.Wait()
		close(exited)
	}(e.command, e.exited)
	client := e.client(t)
	cluster.Eventually(t, "etcd to answer", func(ctx context.Context) (bool, string) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := client.Get(ctx, "health")
		return err == nil, fmt.Sprint(err)
	})
}

func (e *etcd) kill() {
	_ = e.command.Process.Signal(syscall.SIGCONT)
	_ = e.command.Process.Kill()
	<-e.exited
}

func (e *etcd) client(t testing.TB) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// save writes a snapshot, which cannot be told from one of etcdctl's.
func (e *etcd) save(t testing.TB) (file string) {
	t.Helper()
	reader, err := e.client(t).Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	file = filepath.Join(t.TempDir(), "snapshot.db")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.ReadFrom(reader); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// restore makes a new folder of the snapshot for the etcd, which does not run.
func (e *etcd) restore(t testing.TB, file string, flags ...string) {
	t.Helper()
	e.dir = filepath.Join(t.TempDir(), "restored")
	server(t, append([]string{"snapshot", "restore", file, "--data-dir=" + e.dir, "--name=own", "--initial-cluster=own=" + e.peer, "--initial-advertise-peer-urls=" + e.peer}, flags...)...)
}

// server runs a command of our binary that ends by itself.
func server(t testing.TB, args ...string) {
	t.Helper()
	output, err := exec.Command(filepath.Join(cluster.Root, "bin", "elasticweb-apiserver"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, output)
	}
}

// installAfresh lets the test's servers find a cluster in which none of ours has ever run, and leaves it so.
func installAfresh(t testing.TB) {
	t.Helper()
	buryTheDead(t)
	apart[cluster.NamespaceOf(t)] = true
	forget := func(ctx context.Context) {
		_ = plane.Kube.CoreV1().ConfigMaps("elasticweb-system").Delete(ctx, storageConfigMap, metav1.DeleteOptions{})
		_ = plane.Kube.CoreV1().Secrets("elasticweb-system").Delete(ctx, "elasticweb-apiserver-serving-cert", metav1.DeleteOptions{})
	}
	forget(t.Context())
	t.Cleanup(func() { forget(context.WithoutCancel(t.Context())) })
}

// apart are the namespaces of tests with storages of their own, which are gone: any server lets them go.
var apart = map[string]bool{}

// buryTheDead lets namespaces of earlier tests go while the storage is served that has their ElasticWebs: with another one they would
// go without them.
func buryTheDead(t testing.TB) {
	t.Helper()
	terminating := func(ctx context.Context) (bool, string) {
		namespaces, err := plane.Kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, ns := range namespaces.Items {
			if ns.DeletionTimestamp != nil && !apart[ns.Name] {
				return false, ns.Name
			}
		}
		return true, ""
	}
	if gone, _ := terminating(t.Context()); gone {
		return
	}
	r := serve(t, "undertaker", lease()...)
	cluster.Eventually(t, "the namespaces of earlier tests to go", terminating)
	r.stop()
}

const storageConfigMap = "elasticweb-apiserver-storage"
