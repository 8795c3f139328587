package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Process is a running program whose output goes to a file.
type Process struct {
	name, logFile string

	command *exec.Cmd
	done    chan struct{}
	err     error

	// halted: it was ended to be started again by again.
	halted atomic.Bool
	again  func(more ...string) error
}

// start runs a program. It gets a process group of its own, so that Ctrl-C in a terminal reaches only us and everything
// stops in order, and it is killed by the kernel if we die without stopping it.
func start(name, logFile, dir string, env []string, path string, args ...string) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(logFile), 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()

	command := exec.Command(path, args...)
	command.Dir, command.Env = dir, append(os.Environ(), env...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := starter.start(command); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{name: name, logFile: logFile, command: command, done: make(chan struct{})}
	go func() {
		p.err = command.Wait()
		close(p.done)
	}()
	return p, nil
}

// failure says how the program ended, with the last lines of its output. Only for a program that is done.
func (p *Process) failure() error {
	how := "it ended"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s stopped by itself (%s); the last lines of %s:\n%s", p.name, how, p.logFile, tail(p.logFile, 8))
}

// stop asks the program to end, waits for it, and kills it if it takes longer than grace.
func (p *Process) stop(grace time.Duration) {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return
	case <-time.After(grace):
	}
	_ = p.command.Process.Kill()
	<-p.done
}

func tail(file string, lines int) string {
	f, err := os.Open(file)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	defer func() { _ = f.Close() }()
	var last []string
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		last = append(last, "  "+scanner.Text())
		if len(last) > lines {
			last = last[1:]
		}
	}
	if err := scanner.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		last = append(last, "  ("+err.Error()+")")
	}
	return strings.Join(last, "\n")
}
