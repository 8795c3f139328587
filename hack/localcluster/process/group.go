package process

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// stopGrace is the time that a program gets to end.
const stopGrace = 20 * time.Second

// haltGrace is the time that a program gets to end that is to be missed.
const haltGrace = 3 * time.Second

// awaitLimit is the time that anything may take to become ready.
const awaitLimit = 2 * time.Minute

// Group is a number of programs that run together, in one folder, with their output in its folder "logs".
type Group struct {
	dir string

	mu        sync.Mutex
	processes []*Process
	failed    chan error
}

// NewGroup returns a group without programs.
func NewGroup(dir string) *Group {
	return &Group{dir: dir, failed: make(chan error, 1)}
}

// Run starts a program. From then on it is watched, and Stop ends it.
func (g *Group) Run(name string, env []string, path string, args ...string) error {
	return g.run(name, env, path, args)
}

func (g *Group) run(name string, env []string, path string, args []string, more ...string) error {
	p, err := start(name, filepath.Join(g.dir, "logs", name+".log"), g.dir, env, path, slices.Concat(args, more)...)
	if err != nil {
		return err
	}
	p.again = func(more ...string) error { return g.run(name, env, path, args, more...) }
	g.mu.Lock()
	g.processes = append(g.processes, p)
	g.mu.Unlock()
	go func() {
		<-p.done
		if p.halted.Load() {
			return
		}
		select {
		case g.failed <- p.failure():
		default:
		}
	}()
	return nil
}

// Halt ends a program until Resume starts it again; that it ends is no failure.
func (g *Group) Halt(name string) error {
	p, err := g.find(name)
	if err != nil {
		return err
	}
	p.halted.Store(true)
	p.stop(haltGrace)
	return nil
}

// Resume starts a program again that Halt has ended, this time with more arguments.
func (g *Group) Resume(name string, more ...string) error {
	p, err := g.find(name)
	if err != nil {
		return err
	}
	if !p.halted.Load() {
		return fmt.Errorf("%s is not halted", name)
	}
	return p.again(more...)
}

// find returns the program of that name that was started last.
func (g *Group) find(name string) (*Process, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range slices.Backward(g.processes) {
		if p.name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no program %s runs here", name)
}

// Failed delivers the failure of the first program that ended by itself.
func (g *Group) Failed() <-chan error { return g.failed }

// Stop ends all programs, the last started first, and returns when none is left.
func (g *Group) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range slices.Backward(g.processes) {
		p.stop(stopGrace)
	}
	g.processes = nil
}

// Await calls attempt until it succeeds, a program fails, or ctx ends.
func (g *Group) Await(ctx context.Context, what string, attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, awaitLimit)
	defer cancel()
	for {
		err := attempt(ctx)
		if err == nil {
			return nil
		}
		select {
		case failure := <-g.failed:
			return failure
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("waited %v for %s: %w; the logs are in %s", awaitLimit, what, err, filepath.Join(g.dir, "logs"))
			}
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
