package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"elasticweb.example.com/hack/localcluster/node"
)

// stateFolder is a folder that one local cluster at a time works in.
type stateFolder struct {
	path string
	lock *os.File
}

// errInUse says that a cluster is running in the folder.
type errInUse struct {
	path string
	pid  int
}

func (e *errInUse) Error() string {
	return fmt.Sprintf("a local cluster is already running in %s (process %d): use it, or end it with `make down`", e.path, e.pid)
}

// openState makes the folder if it is missing and takes it, and removes what an earlier cluster left there. The error is an
// *errInUse if another cluster has it.
func openState(path string) (*stateFolder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	// As the kernel calls it, in its list of what is mounted.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	if err := checkOurs(path); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = lock.Close() }()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &errInUse{path: path, pid: holder(lock)}
		}
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	s := &stateFolder{path: path, lock: lock}
	if err := errors.Join(s.clean(), checkFree(path, freeNeeded)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := lock.Truncate(0); err != nil {
		return nil, err
	}
	pid := node.OutsidePID()
	if pid == "" {
		pid = strconv.Itoa(os.Getpid())
	}
	_, err = lock.WriteAt([]byte(pid), 0)
	return s, err
}

// checkOurs refuses a folder that holds what no cluster has written: what is in the folder gets deleted.
func checkOurs(path string) error {
	if _, err := os.Stat(filepath.Join(path, "lock")); err == nil {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		// "lock" may have come since.
		if name := entry.Name(); name != "logs" && name != "lock" {
			return fmt.Errorf("%s holds %s, which is not a local cluster's: choose an empty folder with --state", path, name)
		}
	}
	return nil
}

// freeNeeded is the space that a cluster with room for tests takes, in bytes.
const freeNeeded = 512 << 20

func checkFree(path string, need uint64) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(path, &disk); err != nil {
		return fmt.Errorf("free space of %s: %w", path, err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < need {
		return fmt.Errorf("only %d MB are free on the disk of %s: a local cluster needs %d MB", free>>20, path, need>>20)
	}
	return nil
}

// close removes everything but the logs and lets go of the folder.
func (s *stateFolder) close() error {
	err := s.clean()
	// Still locked: nobody can have taken the file that is removed.
	return errors.Join(err, os.Remove(s.lock.Name()), s.lock.Close())
}

func (s *stateFolder) clean() error {
	if _, inside := node.Inside(); inside {
		if err := errors.Join(node.EndContainers(), node.Unmount(s.path)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(s.path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); name != "logs" && name != "lock" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.path, name)))
		}
	}
	return err
}

// stopRunning ends the cluster in the folder, if there is one, and waits until it has. It says whether there was one.
func stopRunning(path string) (bool, error) {
	s, err := openState(path)
	if err == nil {
		return false, s.close()
	}
	var inUse *errInUse
	if !errors.As(err, &inUse) {
		return false, err
	}
	if inUse.pid == 0 {
		return true, fmt.Errorf("%w, but the lock file does not say which process it is", err)
	}
	if err := syscall.Kill(inUse.pid, syscall.SIGTERM); err != nil {
		return true, fmt.Errorf("end process %d: %w", inUse.pid, err)
	}
	for range 600 {
		s, err := openState(path)
		// Of a real Node there is something left to do when the folder is free.
		if err == nil && errors.Is(syscall.Kill(inUse.pid, 0), syscall.ESRCH) {
			return true, s.close()
		}
		if err == nil {
			err = &errInUse{path: path, pid: inUse.pid}
			if closing := s.close(); closing != nil {
				return true, closing
			}
		}
		if !errors.As(err, &inUse) {
			return true, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return true, fmt.Errorf("process %d has not ended for a minute: see %s", inUse.pid, filepath.Join(path, "logs"))
}

func holder(lock *os.File) int {
	text := make([]byte, 32)
	n, _ := lock.ReadAt(text, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	return pid
}
