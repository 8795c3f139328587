package embedded

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/util/wait"
)

func start(t *testing.T, dir string) (*Etcd, *clientv3.Client) {
	t.Helper()
	return startWith(t, Config{Dir: dir})
}

func startWith(t *testing.T, config Config) (*Etcd, *clientv3.Client) {
	t.Helper()
	etcd, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return etcd, client
}

// relieving lets the etcd look after its quota, until stop.
func relieving(t *testing.T, etcd *Etcd) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		etcd.Relieve(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("never: %s", what)
	}
}

// folder is one whose name leaves room for a socket.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "data")
}

func TestDataOutlivesARestart(t *testing.T) {
	dir := folder(t)
	etcd, client := start(t, dir)
	if _, err := client.Put(t.Context(), "key", "value"); err != nil {
		t.Fatal(err)
	}
	etcd.Close()

	_, client = start(t, dir)
	response, err := client.Get(t.Context(), "key")
	if err != nil {
		t.Fatal(err)
	}
	if len(response.Kvs) != 1 || string(response.Kvs[0].Value) != "value" {
		t.Errorf("after a restart the key holds %v, want value", response.Kvs)
	}
}

func TestAFolderInUseIsRefusedAtOnce(t *testing.T) {
	dir := folder(t)
	start(t, dir)
	if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "--data-dir "+dir+" is in use by another process") {
		t.Errorf("error = %v, want one that names the folder and says that it is in use", err)
	}
}

func TestNobodyElseMayEnterTheFolder(t *testing.T) {
	dir := folder(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o700 {
		t.Errorf("the folder has mode %o, want 700", mode)
	}
}

func TestAPathTooLongForASocketIsRefused(t *testing.T) {
	dir := filepath.Join(folder(t), strings.Repeat("a", 120))
	if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "choose a shorter path") {
		t.Errorf("error = %v, want one that says to choose a shorter path", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the refused folder was made")
	}
}

func TestAFolderThatCannotBeMadeIsRefused(t *testing.T) {
	file := folder(t)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: filepath.Join(file, "data")}); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("error = %v, want one that names --data-dir", err)
	}
}
