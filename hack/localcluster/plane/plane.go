package plane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"elasticweb.example.com/hack/localcluster/process"
)

// Plane is a running control plane.
type Plane struct {
	// Group holds the components, and whatever its users run beside them.
	*process.Group
	// Kubeconfig is that of an administrator.
	Kubeconfig string
	// ServerKubeconfig is that of elasticweb-apiserver: it has the rights that RBAC gives to ServerUser.
	ServerKubeconfig string

	// self is the binary that holds the components.
	self, state, pki string
	ports            ports
}

// Start starts the API of a control plane whose files are all below the folder state, and returns when it answers. self is the
// binary that holds the components. progress is told each step. On an error nothing is left running.
func Start(ctx context.Context, state, self string, progress func(string)) (_ *Plane, err error) {
	p := &Plane{
		Group:            process.NewGroup(state),
		Kubeconfig:       filepath.Join(state, "kubeconfig"),
		ServerKubeconfig: filepath.Join(state, "kubeconfigs", "elasticweb-apiserver"),
		self:             self,
		state:            state,
		pki:              filepath.Join(state, "pki"),
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
	return p, nil
}

// StartControllers starts what acts on the API, and returns when the plane can run Pods. Whatever API is registered before is
// known to the garbage collector at once; one that comes later, only after its next look around, half a minute apart.
func (p *Plane) StartControllers(ctx context.Context) error {
	if err := p.startControllers(); err != nil {
		return err
	}
	if err := p.Await(ctx, "the Node", p.createNode); err != nil {
		return err
	}
	return p.Await(ctx, "the Node and the first service account", p.canRunPods)
}

// Port returns a free port on 127.0.0.1 that nobody else will be given while the plane runs.
func (p *Plane) Port() (int, error) { return p.ports.next() }

// Stop ends all programs, the last started first, and returns when none is left.
func (p *Plane) Stop() {
	p.Group.Stop()
	p.ports.release()
}

func (p *Plane) component(name string, args ...string) error {
	// HOME: kwok would put a folder into the user's.
	return p.Run(name, []string{"HOME=" + p.state}, p.self, append([]string{name}, args...)...)
}
