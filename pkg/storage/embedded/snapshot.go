package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"k8s.io/klog/v2"
)

// snapshotSuffix ends the name of a snapshot. Those that a schedule makes have their time as their name.
const (
	snapshotSuffix = ".db"
	snapshotTime   = "20060102T150405Z"
)

// Save writes a snapshot of the data in dir to file, whether a server runs on it or not. A file that exists is not replaced.
func Save(ctx context.Context, dir, file string) error {
	if _, err := os.Stat(file); err == nil {
		return fmt.Errorf("%s exists: choose another name", file)
	}
	return withEtcd(ctx, dir, func(endpoint string) error { return save(ctx, endpoint, file) })
}

// withEtcd calls f with the address of the etcd in dir, which is started for that if it does not run.
func withEtcd(ctx context.Context, dir string, f func(endpoint string) error) error {
	if _, err := os.Stat(dataDir(dir)); err != nil {
		return fmt.Errorf("--data-dir %s holds no embedded etcd: %w", dir, err)
	}
	e, err := Start(ctx, Config{Dir: dir})
	if errors.Is(err, errInUse) {
		address := socketURL(socketPath(dir))
		return f(address.String())
	}
	if err != nil {
		return err
	}
	defer e.Close()
	return f(e.Endpoint())
}

// SaveTo writes a snapshot of the data in dir to w.
func SaveTo(ctx context.Context, dir string, w io.Writer) error {
	return withEtcd(ctx, dir, func(endpoint string) error {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		return Stream(ctx, client, w)
	})
}

// Stream writes a snapshot of any etcd to w. One that breaks off has no valid end, and is not restored.
func Stream(ctx context.Context, etcd *clientv3.Client, w io.Writer) error {
	snapshot, err := etcd.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("save a snapshot: %w", err)
	}
	defer func() { _ = snapshot.Close() }()
	if _, err := io.Copy(w, snapshot); err != nil {
		return fmt.Errorf("save a snapshot: %w", err)
	}
	return nil
}

func save(ctx context.Context, endpoint, file string) error {
	// Only the owner: it is everything that the server knows.
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	_, err := snapshot.NewV3(zap.NewNop()).Save(ctx, clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second}, file)
	if err != nil {
		return fmt.Errorf("save a snapshot: %w", err)
	}
	return os.Chmod(file, 0o600)
}

// Member is what a member of an external etcd cluster is told of itself, by the same names as etcd's flags.
type Member struct{ Name, InitialCluster, InitialAdvertisePeerURLs, InitialClusterToken string }

// Restore makes the data of an etcd from a snapshot: of an embedded one in dir, or, if the member has a name, of that member of
// an external cluster, whose data-dir dir is then. What is there already is refused. bump is added to the revision, so that
// who has watched the old data learns that it is not the same; 0 leaves it.
func Restore(dir, file string, member Member, bump uint64) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("the snapshot: %w", err)
	}
	return restore(dir, member, bump, func(string) (string, error) { return file, nil })
}

// RestoreFrom restores the snapshot that r has, as Restore does.
func RestoreFrom(dir string, r io.Reader, member Member, bump uint64) error {
	return restore(dir, member, bump, func(unfinished string) (string, error) {
		if err := os.MkdirAll(unfinished, 0o700); err != nil {
			return "", err
		}
		file, err := os.OpenFile(filepath.Join(unfinished, "piped"+snapshotSuffix), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(file, r)
		return file.Name(), errors.Join(err, file.Close())
	})
}

// unfinishedFolder, in the folder of an etcd, is not yet data: who is killed while it is restored leaves nothing that looks like it.
const unfinishedFolder = "unfinished"

// restore restores the snapshot that is found when it is known that it is of use.
func restore(dir string, member Member, bump uint64, find func(unfinished string) (file string, err error)) (err error) {
	target := dir
	if member.Name == "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("--data-dir %s cannot be used: %w", dir, err)
		}
		lock, err := lockFolder(dir)
		if err != nil {
			return err
		}
		defer func() { _ = lock.Close() }()
		target, member = dataDir(dir), embeddedMember()
	}
	unfinished := filepath.Join(target, unfinishedFolder)
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("--data-dir %s cannot be used: %w", dir, err)
	}
	if entries, err := os.ReadDir(target); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s holds data already: a snapshot is restored into a new folder. Move the old one away first", target)
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(unfinished))
		if err != nil {
			// It is empty, or was not made.
			_ = os.Remove(target)
		}
	}()
	file, err := find(unfinished)
	if err != nil {
		return fmt.Errorf("read the snapshot: %w", err)
	}
	data := filepath.Join(unfinished, "data")
	err = snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: file, OutputDataDir: data, Name: member.Name,
		PeerURLs: strings.Split(member.InitialAdvertisePeerURLs, ","), InitialCluster: member.InitialCluster, InitialClusterToken: member.InitialClusterToken,
		RevisionBump: bump, MarkCompacted: bump > 0,
	})
	if err == nil {
		err = os.Rename(filepath.Join(data, memberFolder), filepath.Join(target, memberFolder))
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", file, err)
	}
	return nil
}

// memberFolder, in its data-dir, has all that an etcd keeps.
const memberFolder = "member"

// embeddedMember is what the embedded etcd is told of itself.
func embeddedMember() Member {
	defaults := embed.NewConfig()
	defaults.Name = memberName
	return Member{
		Name: memberName, InitialCluster: defaults.InitialClusterFromName(memberName),
		InitialAdvertisePeerURLs: urls(defaults.AdvertisePeerUrls), InitialClusterToken: defaults.InitialClusterToken,
	}
}

func urls(of []url.URL) string {
	var all []string
	for _, u := range of {
		all = append(all, u.String())
	}
	return strings.Join(all, ",")
}

// Schedule is when snapshots are saved, and how many are kept.
type Schedule struct {
	// Dir is the folder of the snapshots.
	Dir string
	// Interval is the time between two; 0: none are saved.
	Interval time.Duration
	// Keep is how many are kept, the newest, 1 or more.
	Keep int
}

// SaveRegularly saves snapshots until ctx ends, the first when the newest that is there is older than the interval.
func (e *Etcd) SaveRegularly(ctx context.Context, schedule Schedule) {
	logger := klog.FromContext(ctx).WithName("etcd")
	for {
		wait := schedule.Interval
		if newest := newest(schedule.Dir); newest.IsZero() {
			wait = 0
		} else {
			wait -= time.Since(newest)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, 0)):
		}
		file := filepath.Join(schedule.Dir, time.Now().UTC().Format(snapshotTime)+snapshotSuffix)
		err := roomForSnapshot(e.dir, schedule.Dir, e.quota)
		if err == nil {
			err = save(ctx, e.Endpoint(), file)
		}
		if err == nil {
			logger.Info("Saved a snapshot", "file", file)
			err = prune(schedule.Dir, schedule.Keep)
		}
		if err != nil && ctx.Err() == nil {
			logger.Error(err, "Cannot save a snapshot, will try again")
			select {
			case <-ctx.Done():
			case <-time.After(min(schedule.Interval, time.Minute)):
			}
		}
	}
}

// Saved are the files of the snapshots that a schedule has saved in dir, the oldest first. The name of each is when, in UTC.
func Saved(dir string) (files []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if _, ok := savedAt(entry.Name()); ok {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	slices.Sort(files)
	return files, err
}

// savedAt is when the snapshot was saved; false: no schedule has made a file of that name.
func savedAt(file string) (at time.Time, ok bool) {
	name, isSnapshot := strings.CutSuffix(filepath.Base(file), snapshotSuffix)
	at, err := time.Parse(snapshotTime, name)
	return at, isSnapshot && err == nil
}

// Print writes a snapshot that a schedule has saved, and no other file, to w.
func Print(w io.Writer, file string) error {
	if _, ok := savedAt(file); !ok {
		return fmt.Errorf("%s is no snapshot of a schedule: their names are like %s", file, snapshotTime+snapshotSuffix)
	}
	opened, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	_, err = io.Copy(w, opened)
	return err
}

// newest is when the newest snapshot was saved; zero: there is none.
func newest(dir string) (at time.Time) {
	if files, _ := Saved(dir); len(files) > 0 {
		at, _ = savedAt(files[len(files)-1])
	}
	return at
}

func prune(dir string, keep int) error {
	files, err := Saved(dir)
	for _, file := range files[:max(len(files)-keep, 0)] {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}
