package plane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"elasticweb.example.com/hack/localcluster/process"
)

// stopGrace is the time that a component gets to end. What it held is thrown away, so it may be cut short.
const stopGrace = 5 * time.Second

// Plane is a running control plane.
type Plane struct {
	// Kubeconfig is that of an administrator.
	Kubeconfig string
	// ServerKubeconfig is that of elasticweb-apiserver: it has the rights that RBAC gives to ServerUser.
	ServerKubeconfig string
	// Self is the binary that holds the components.
	Self string

	state, pki string
	ports      ports

	mu        sync.Mutex
	processes []*process.Process
	failed    chan error
}

// Start starts a control plane whose files are all below the folder state, and returns when it can run Pods. self is the
// binary that holds the components. progress is told each step. On an error nothing is left running.
func Start(ctx context.Context, state, self string, progress func(string)) (_ *Plane, err error) {
	p := &Plane{
		Kubeconfig:       filepath.Join(state, "kubeconfig"),
		ServerKubeconfig: filepath.Join(state, "kubeconfigs", "elasticweb-apiserver"),
		Self:             self,
		state:            state,
		pki:              filepath.Join(state, "pki"),
		failed:           make(chan error, 1),
	}
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	for _, dir := range []string{p.pki, filepath.Join(state, "kubeconfigs"), filepath.Join(state, "etcd")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	port, err := p.ports.next()
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("https://127.0.0.1:%d", port)
	if err := p.writePKI(url); err != nil {
		return nil, fmt.Errorf("make certificates: %w", err)
	}

	progress("etcd and kube-apiserver at " + url)
	if err := p.startAPI(port); err != nil {
		return nil, err
	}
	if err := p.Await(ctx, "kube-apiserver to be ready", p.apiReady); err != nil {
		return nil, err
	}
	progress("kube-controller-manager, kube-scheduler, kwok with a Node")
	if err := p.startControllers(); err != nil {
		return nil, err
	}
	if err := p.Await(ctx, "the Node", p.createNode); err != nil {
		return nil, err
	}
	if err := p.Await(ctx, "the Node and the first service account", p.canRunPods); err != nil {
		return nil, err
	}
	return p, nil
}

// Port returns a free port on 127.0.0.1 that nobody else will be given while the plane runs.
func (p *Plane) Port() (int, error) { return p.ports.next() }

// Run starts a program beside the components: it is watched and stopped like them. Programs stop in the reverse order.
func (p *Plane) Run(name string, env []string, path string, args ...string) (*process.Process, error) {
	proc, err := process.Start(name, filepath.Join(p.state, "logs", name+".log"), p.state, env, path, args...)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.processes = append(p.processes, proc)
	p.mu.Unlock()
	go func() {
		<-proc.Done()
		select {
		case p.failed <- proc.Failure():
		default:
		}
	}()
	return proc, nil
}

// Failed delivers the first failure of a program that should be running.
func (p *Plane) Failed() <-chan error { return p.failed }

// Stop ends all programs, the last started first, and returns when none is left.
func (p *Plane) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, proc := range slices.Backward(p.processes) {
		proc.Stop(stopGrace)
	}
	p.processes = nil
	p.ports.release()
}

// Await calls attempt until it succeeds, a program fails, or ctx ends.
func (p *Plane) Await(ctx context.Context, what string, attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := attempt(ctx)
		if err == nil {
			return nil
		}
		select {
		case failure := <-p.failed:
			return failure
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("waited two minutes for %s: %w; the logs are in %s", what, err, filepath.Join(p.state, "logs"))
			}
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (p *Plane) component(name string, args ...string) error {
	// HOME: kwok would put a folder into the user's.
	_, err := p.Run(name, []string{"HOME=" + p.state}, p.Self, append([]string{name}, args...)...)
	return err
}
