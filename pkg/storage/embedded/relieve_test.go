package embedded

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// fill writes until etcd refuses, to the keys that it is given the number of.
func fill(t *testing.T, client *clientv3.Client, key func(i int) int) {
	t.Helper()
	value := strings.Repeat("x", 64<<10)
	for i := range 1000 {
		_, err := client.Put(t.Context(), fmt.Sprint("key", key(i)), value)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the quota was never exceeded")
}

func TestAnExceededQuotaIsRelieved(t *testing.T) {
	etcd, client := startWith(t, Config{Dir: folder(t), Quota: 16 << 20})
	fill(t, client, func(i int) int { return i % 3 })
	if _, err := client.Get(t.Context(), "key1"); err != nil {
		t.Errorf("a read while writes are refused: %v", err)
	}
	stop := relieving(t, etcd)
	defer stop()
	await(t, "writes to go on", func() bool {
		_, err := client.Put(t.Context(), "after", "value")
		return err == nil
	})
	// What was written is there.
	response, err := client.Get(t.Context(), "key", clientv3.WithPrefix())
	if err != nil || len(response.Kvs) != 3 {
		t.Errorf("%v, %d keys of 3", err, len(response.Kvs))
	}
}

func TestWhatIsFullOfObjectsStaysReadable(t *testing.T) {
	etcd, client := startWith(t, Config{Dir: folder(t), Quota: 16 << 20})
	// What is written is never written again. A file that grows has some air in it: until there is none left.
	const first = 101
	written := first - 1
	for freed := true; freed; {
		fill(t, client, func(int) int { written++; return written })
		var err error
		if freed, err = etcd.relieve(t.Context()); err != nil || written > 1000 {
			t.Fatalf("%d objects, %v", written, err)
		}
	}
	if freed, err := etcd.relieve(t.Context()); freed || err != nil {
		t.Errorf("freed: %v, %v", freed, err)
	}
	if _, err := client.Put(t.Context(), "after", "value"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a write: %v", err)
	}
	if response, err := client.Get(t.Context(), "key", clientv3.WithPrefix(), clientv3.WithKeysOnly()); err != nil || response.Count < 20 {
		t.Errorf("a read: %v", err)
	}

	// Two thirds: etcd measures its size ten times a second, and so exceeds a small quota by half before it notices.
	for i := first; i < first+(written-first)*2/3; i++ {
		if _, err := client.Delete(t.Context(), fmt.Sprint("key", i)); err != nil {
			t.Fatalf("a deletion while writes are refused: %v", err)
		}
	}
	stop := relieving(t, etcd)
	defer stop()
	await(t, "writes to go on after the deletions", func() bool {
		_, err := client.Put(t.Context(), "after", "value")
		return err == nil
	})
}

func TestAQuotaThatTheVolumeCannotHoldIsRefused(t *testing.T) {
	_, err := Start(t.Context(), Config{Dir: folder(t), Quota: 1 << 60})
	if err == nil || !strings.Contains(err.Error(), "choose a smaller --embedded-etcd-quota-backend-bytes") {
		t.Errorf("error = %v", err)
	}
}
