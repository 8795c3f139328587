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
	if _, err := os.Stat(dataDir(dir)); err != nil {
		return fmt.Errorf("--data-dir %s holds no embedded etcd: %w", dir, err)
	}
	e, err := Start(ctx, Config{Dir: dir})
	if errors.Is(err, errInUse) {
		address := socketURL(socketPath(dir))
		return save(ctx, address.String(), file)
	}
	if err != nil {
		return err
	}
	defer e.Close()
	return save(ctx, e.Endpoint(), file)
}

// SaveTo writes a snapshot of the data in dir to w.
func SaveTo(ctx context.Context, dir string, w io.Writer) (err error) {
	folder, err := os.MkdirTemp(dir, "snapshot")
	if err != nil {
		return fmt.Errorf("--data-dir %s cannot be used: %w", dir, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	file := filepath.Join(folder, "new"+snapshotSuffix)
	if err := Save(ctx, dir, file); err != nil {
		return err
	}
	saved, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = saved.Close() }()
	_, err = io.Copy(w, saved)
	return err
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
		defaults := embed.NewConfig()
		defaults.Name = memberName
		target = dataDir(dir)
		member = Member{
			Name: memberName, InitialCluster: defaults.InitialClusterFromName(memberName),
			InitialAdvertisePeerURLs: urls(defaults.AdvertisePeerUrls), InitialClusterToken: defaults.InitialClusterToken,
		}
	}
	if err := vacant(target); err != nil {
		return err
	}
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: file, OutputDataDir: target, Name: member.Name,
		PeerURLs: strings.Split(member.InitialAdvertisePeerURLs, ","), InitialCluster: member.InitialCluster, InitialClusterToken: member.InitialClusterToken,
		RevisionBump: bump, MarkCompacted: bump > 0,
	})
	if err != nil {
		// Half of the data would be taken for all of it.
		return errors.Join(fmt.Errorf("restore %s: %w", file, err), os.RemoveAll(target))
	}
	return nil
}

// RestoreFrom restores the snapshot that r has, as Restore does.
func RestoreFrom(dir string, r io.Reader, member Member, bump uint64) (err error) {
	target := dir
	if member.Name == "" {
		target = dataDir(dir)
	}
	// Before it waits for a snapshot that is of no use.
	if err := vacant(target); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("--data-dir %s cannot be used: %w", dir, err)
	}
	file, err := os.CreateTemp(filepath.Dir(dir), "snapshot*"+snapshotSuffix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = io.Copy(file, r)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return Restore(dir, file.Name(), member, bump)
}

func vacant(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s holds data already: a snapshot is restored into a new folder. Move the old one away first", dir)
	}
	return nil
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

// saved are the names of the snapshots of a schedule, the oldest first.
func saved(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		name, isSnapshot := strings.CutSuffix(entry.Name(), snapshotSuffix)
		if _, err := time.Parse(snapshotTime, name); isSnapshot && err == nil {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names
}

// newest is when the newest snapshot was saved; zero: there is none.
func newest(dir string) time.Time {
	names := saved(dir)
	if len(names) == 0 {
		return time.Time{}
	}
	at, _ := time.Parse(snapshotTime, strings.TrimSuffix(names[len(names)-1], snapshotSuffix))
	return at
}

func prune(dir string, keep int) (err error) {
	names := saved(dir)
	for _, name := range names[:max(len(names)-keep, 0)] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
	}
	return err
}
