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

// EndContainers ends every process of the namespaces but the first, and us.
func EndContainers() error {
	// Of any other place it would be the end.
	first, err := os.ReadFile("/proc/1/cmdline")
	if err != nil {
		return err
	}
	if words := strings.Split(string(first), "\x00"); os.Getppid() != 1 || len(words) < 2 || words[1] != InitCommand {
		return errors.New("not in the namespaces of a Node")
	}
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end containers: %w", err)
	}
	return nil
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
