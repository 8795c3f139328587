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

	config Config
	pki    string
	ports  ports
}

// Config is what a Plane is made of.
type Config struct {
	// State is the folder below which all its files are, and Self the binary that holds the components.
	State, Self string
	// Progress is told each step.
	Progress func(string)
	// Node is a real one, which runs the Pods. Nil: kwok plays one, and nothing listens but on loopback.
	Node *Node
}

// Node is what the control plane must know of a real one.
type Node struct {
	// Name, and Address, which the control plane shares with it.
	Name, Address string
}

// Start starts the API of a control plane, and returns when it answers. On an error nothing is left running.
func Start(ctx context.Context, c Config) (_ *Plane, err error) {
	state := c.State
	p := &Plane{
		Group:            process.NewGroup(state),
		Kubeconfig:       filepath.Join(state, "kubeconfig"),
		ServerKubeconfig: filepath.Join(state, "kubeconfigs", "elasticweb-apiserver"),
		config:           c,
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
	url := fmt.Sprintf("https://%s:%d", p.address(), port)
	if err := p.writePKI(url); err != nil {
		return nil, fmt.Errorf("make certificates: %w", err)
	}

	c.Progress("etcd and kube-apiserver at " + url)
	if err := p.startAPI(port); err != nil {
		return nil, err
	}
	if err := p.Await(ctx, "kube-apiserver to be ready", p.apiReady); err != nil {
		return nil, err
	}
	return p, nil
}

// address is where the API is served.
func (p *Plane) address() string {
	if p.config.Node != nil {
		return p.config.Node.Address
	}
	return "127.0.0.1"
}

// StartControllers starts what acts on the API, and returns when the plane can run Pods. A real Node must have been started. Whatever API is registered before is
// known to the garbage collector at once; one that comes later, only after its next look around, half a minute apart.
func (p *Plane) StartControllers(ctx context.Context) error {
	if err := p.startControllers(); err != nil {
		return err
	}
	if p.config.Node == nil {
		if err := p.Await(ctx, "the Node", p.createNode); err != nil {
			return err
		}
	}
	return p.Await(ctx, "the Node and the first service account", p.canRunPods)
}

// NodeKubeconfigs are those of a real Node's kubelet and kube-proxy, and the file with the authority that signs for who may ask it.
func (p *Plane) NodeKubeconfigs() (kubelet, proxy, clientCA string) {
	return p.kubeconfig("kubelet"), p.kubeconfig("kube-proxy"), p.cert("ca")
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
	return p.Run(name, []string{"HOME=" + p.config.State}, p.config.Self, append([]string{name}, args...)...)
}
