package node

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// cgroups are kubelet's, in each hierarchy.
func cgroups() []string {
	var all []string
	for _, pattern := range []string{"/sys/fs/cgroup/kubepods", "/sys/fs/cgroup/*/kubepods"} {
		// The pattern is well-formed, which is the only error.
		found, _ := filepath.Glob(pattern)
		all = append(all, found...)
	}
	return all
}

// checkCgroups refuses a machine that is a Node already: two kubelets would end each other's Pods. What one that was killed has left
// is taken away.
func checkCgroups() error {
	found := cgroups()
	for _, dir := range found {
		if inhabited(dir) {
			return fmt.Errorf("processes run in %s: this machine is a Node of a cluster already, perhaps of another real Node of localcluster", dir)
		}
	}
	for _, dir := range found {
		remove(dir)
	}
	return nil
}

// inhabited says whether a process is in the cgroup, or in one below it.
func inhabited(dir string) (yes bool) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == "cgroup.procs" {
			processes, _ := os.ReadFile(path)
			yes = yes || len(processes) > 0
		}
		return nil
	})
	return yes
}

// remove takes away a cgroup and those in it, and says whether it has gone.
func remove(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return os.IsNotExist(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			remove(filepath.Join(dir, entry.Name()))
		}
	}
	return os.Remove(dir) == nil
}
