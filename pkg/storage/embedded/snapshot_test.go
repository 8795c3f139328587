package embedded

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"k8s.io/component-base/metrics/testutil"
)

func put(t *testing.T, dir, value string) {
	t.Helper()
	etcd, client := startWith(t, Config{Dir: dir})
	if _, err := client.Put(t.Context(), "key", value); err != nil {
		t.Fatal(err)
	}
	etcd.Close()
}

func TestASnapshotIsRestored(t *testing.T) {
	dir := folder(t)
	put(t, dir, "value")
	file := filepath.Join(t.TempDir(), "snapshots", "s.db")
	if err := Save(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want mode 600", info.Mode(), err)
	}
	if err := Save(t.Context(), dir, file); err == nil || !strings.Contains(err.Error(), "choose another name") {
		t.Errorf("a second time to the same file: %v", err)
	}
	for _, bump := range []uint64{0, 1000} {
		restored := folder(t)
		if err := Restore(restored, file, Member{}, bump); err != nil {
			t.Fatal(err)
		}
		_, client := startWith(t, Config{Dir: restored})
		response, err := client.Get(t.Context(), "key")
		if err != nil || len(response.Kvs) != 1 || string(response.Kvs[0].Value) != "value" {
			t.Errorf("bump %d: %v, %v", bump, response, err)
		}
		if uint64(response.Header.Revision) < bump {
			t.Errorf("revision %d after a bump of %d", response.Header.Revision, bump)
		}
		if err := Restore(restored, file, Member{}, bump); err == nil {
			t.Error("a folder in use was overwritten")
		}
	}
	if err := Restore(dir, file, Member{}, 0); err == nil || !strings.Contains(err.Error(), "holds data already") {
		t.Errorf("into a folder with data: %v", err)
	}
}

func TestASnapshotIsPiped(t *testing.T) {
	dir, member := folder(t), Member{Name: "m", InitialCluster: "m=http://127.0.0.1:1", InitialAdvertisePeerURLs: "http://127.0.0.1:1"}
	put(t, dir, "value")
	var piped bytes.Buffer
	if err := SaveTo(t.Context(), dir, &piped); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	restored := filepath.Join(parent, "new")
	if err := RestoreFrom(restored, bytes.NewReader(piped.Bytes()[:piped.Len()-512]), member, 0); err == nil {
		t.Error("a snapshot without its end was restored")
	}
	if left, _ := os.ReadDir(parent); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	// One that was killed has left half of the data.
	if err := os.MkdirAll(filepath.Join(restored, unfinishedFolder, "data", memberFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := RestoreFrom(restored, &piped, member, 0); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(restored); len(left) != 1 || left[0].Name() != memberFolder {
		t.Errorf("left: %v", left)
	}
	// A member that is started once more does not wait for another one.
	if err := RestoreFrom(restored, iotest.ErrReader(errors.New("it was read")), member, 0); err == nil || !strings.Contains(err.Error(), "holds data already") {
		t.Errorf("into a folder with data: %v", err)
	}
}

func TestADamagedSnapshotLeavesNothing(t *testing.T) {
	dir, target := folder(t), folder(t)
	put(t, dir, "value")
	file := filepath.Join(t.TempDir(), "s.db")
	if err := Save(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 0xff
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Restore(target, file, Member{}, 0); err == nil {
		t.Fatal("a damaged snapshot was restored")
	}
	if _, err := os.Stat(dataDir(target)); err == nil {
		t.Error("half of it is left")
	}
}

func TestSnapshotsOfASchedule(t *testing.T) {
	etcd, _ := startWith(t, Config{Dir: folder(t)})
	dir := t.TempDir()
	// A schedule that has never saved any shows, too.
	if age := snapshotAgeOf(t, dir); age < 0 || age > 60 {
		t.Errorf("age %v of none", age)
	}
	for _, old := range []string{"20200101T000000Z.db", "20210101T000000Z.db", "somebody-elses.db"} {
		if err := os.WriteFile(filepath.Join(dir, old), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if age := snapshotAgeOf(t, dir); age < 5*365*24*3600 {
		t.Errorf("age %v", age)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		etcd.SaveRegularly(ctx, Schedule{Dir: dir, Interval: time.Hour, Keep: 2})
	}()
	var files []string
	await(t, "a snapshot", func() bool {
		files, _ = Saved(dir)
		return time.Since(newest(dir)) < time.Hour && len(files) == 2
	})
	cancel()
	<-done
	var printed bytes.Buffer
	if err := Print(&printed, files[1]); err != nil {
		t.Error(err)
	}
	if err := RestoreFrom(folder(t), &printed, Member{}, 0); err != nil {
		t.Errorf("what is printed of %s: %v", files[1], err)
	}
	if err := Print(&printed, filepath.Join(dir, "somebody-elses.db")); err == nil || !strings.Contains(err.Error(), "is no snapshot of a schedule") {
		t.Errorf("what no schedule has made: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "20200101T000000Z.db")); err == nil {
		t.Error("the oldest was kept")
	}
	if _, err := os.Stat(filepath.Join(dir, "somebody-elses.db")); err != nil {
		t.Error("a file was deleted that no schedule has made")
	}
	if age := snapshotAgeOf(t, dir); age < 0 || age > 60 {
		t.Errorf("age %v", age)
	}
}

func snapshotAgeOf(t *testing.T, dir string) float64 {
	t.Helper()
	registry := testutil.NewFakeKubeRegistry("1.37.0")
	registry.CustomMustRegister(NewSnapshotMetrics(dir))
	gathered, err := registry.Gather()
	if err != nil || len(gathered) != 1 || gathered[0].GetName() != "elasticweb_etcd_snapshot_age_seconds" {
		t.Fatalf("%v, %v", err, gathered)
	}
	return gathered[0].GetMetric()[0].GetGauge().GetValue()
}

func TestTheMetricsOfEtcdAreThere(t *testing.T) {
	startWith(t, Config{Dir: folder(t)})
	registry := testutil.NewFakeKubeRegistry("1.37.0")
	registry.RawMustRegister(Metrics{})
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, family := range gathered {
		found[family.GetName()] = true
	}
	for _, name := range []string{"etcd_mvcc_db_total_size_in_bytes", "etcd_disk_wal_fsync_duration_seconds", "etcd_server_has_leader"} {
		if !found[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestASnapshotLeavesEtcdItsRoom(t *testing.T) {
	dir := folder(t)
	put(t, dir, "value")
	if err := roomForSnapshot(dir, filepath.Join(dir, "snapshots"), 1<<60); err == nil || !strings.Contains(err.Error(), "--embedded-etcd-snapshot-dir on another volume") {
		t.Errorf("error = %v", err)
	}
	if err := roomForSnapshot(dir, filepath.Join(dir, "snapshots"), 1<<20); err != nil {
		t.Error(err)
	}
}
