package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkRoom refuses a quota that the volume cannot hold twice: a defragmentation makes a second copy, and a disk that is full
// ends etcd, and the server with it.
func checkRoom(dir string, quota int64) error {
	var volume syscall.Statfs_t
	if err := syscall.Statfs(dir, &volume); err != nil {
		return fmt.Errorf("free space of --data-dir %s: %w", dir, err)
	}
	used, err := size(dataDir(dir))
	if err != nil {
		return fmt.Errorf("size of --data-dir %s: %w", dir, err)
	}
	if room := int64(volume.Bavail)*volume.Bsize + used; room < 2*quota {
		return fmt.Errorf("the volume of --data-dir %s has room for %d MiB, and the quota of the embedded etcd needs twice %d MiB: give it a larger volume, or choose a smaller --embedded-etcd-quota-backend-bytes",
			dir, room>>20, quota>>20)
	}
	return nil
}

// roomForSnapshot refuses a snapshot that would take from etcd's volume what a quota needs twice: the next start would be refused.
func roomForSnapshot(dir, snapshots string, quota int64) error {
	var data, target syscall.Stat_t
	if err := os.MkdirAll(snapshots, 0o700); err != nil {
		return err
	}
	if err := errors.Join(syscall.Stat(dir, &data), syscall.Stat(snapshots, &target)); err != nil {
		return err
	}
	if data.Dev != target.Dev {
		return nil
	}
	next, err := size(dataDir(dir))
	if err != nil {
		return err
	}
	var volume syscall.Statfs_t
	if err := syscall.Statfs(dir, &volume); err != nil {
		return err
	}
	if room := int64(volume.Bavail) * volume.Bsize; room < 2*quota {
		return fmt.Errorf("the volume of --data-dir %s has room for %d MiB more, and etcd may need twice its quota of %d MiB there, besides a snapshot of at most %d MiB: put --embedded-etcd-snapshot-dir on another volume, or keep fewer with --embedded-etcd-snapshot-retention",
			dir, room>>20, quota>>20, next>>20)
	}
	return nil
}

// size is that of all files in the folder, in bytes. A folder that is not there has none.
func size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if path == dir && err != nil {
			return fs.SkipAll
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
