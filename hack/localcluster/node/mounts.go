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
