package node

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// foldersOfItsOwn are written to by a Node's programs, wherever they are told to keep their files.
var foldersOfItsOwn = []string{"/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}

// settings are those of the whole machine that kubelet changes if they are not as it wants them. It sees them so, and leaves them alone.
var settings = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0",
	"kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// makeMissing makes those folders that are missing. What it returns takes them away again, if they are empty.
func makeMissing(folders []string) (takeAway func()) {
	var made []string
	for _, folder := range folders {
		// What cannot be made is missed, and named, when something is mounted there.
		if os.Mkdir(folder, 0o755) == nil {
			made = append(made, folder)
		}
	}
	return func() {
		for _, folder := range made {
			_ = os.Remove(folder)
		}
	}
}

// furnish makes mounts and names our own.
func furnish() error {
	type mount struct {
		source, target, kind string
		flags                uintptr
	}
	mounts := []mount{
		// What the machine mounts we see; what we mount nobody else does, but for the containers.
		{"", "/", "", unix.MS_REC | unix.MS_SLAVE},
		{"", "/", "", unix.MS_REC | unix.MS_SHARED},
		{"proc", "/proc", "proc", 0},
		// Sockets, and the names of the containers' networks.
		{"tmpfs", "/run", "tmpfs", 0},
	}
	for _, folder := range foldersOfItsOwn {
		mounts = append(mounts, mount{"tmpfs", folder, "tmpfs", 0})
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for name, value := range settings {
		if _, err := os.Stat(filepath.Join("/proc/sys", name)); os.IsNotExist(err) {
			continue
		}
		seen := filepath.Join("/run/settings", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(seen), 0o755), os.WriteFile(seen, []byte(value), 0o644)); err != nil {
			return err
		}
		if err := unix.Mount(seen, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount /proc/sys/%s: %w", name, err)
		}
	}
	return unix.Sethostname([]byte(Name))
}

// Unmount takes away whatever is mounted below a folder, in use or not.
func Unmount(folder string) error {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer func() { _ = table.Close() }()
	var below []string
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// See proc_pid_mountinfo(5). Spaces in names are \040.
		target := strings.ReplaceAll(strings.Fields(lines.Text())[4], `\040`, " ")
		if relative, err := filepath.Rel(folder, target); err == nil && relative != "." && !strings.HasPrefix(relative, "..") {
			below = append(below, target)
		}
	}
	var errs []error
	// What was mounted last may be on what was before.
	for _, target := range slices.Backward(below) {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", target, err))
		}
	}
	return errors.Join(append(errs, lines.Err())...)
}
