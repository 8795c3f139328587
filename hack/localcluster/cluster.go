package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"elasticweb.example.com/hack/localcluster/plane"
	"elasticweb.example.com/hack/localcluster/process"
)

// cluster is a Kubernetes cluster with elasticweb-apiserver registered in it.
type cluster struct {
	// group holds the programs that we run for it.
	group *process.Group
	state *stateFolder
	// self is our own binary, which is kubectl, too.
	self, kubeconfig string
	// served: the API is served by aggregation. madeNamespace: the demonstration has made its namespace.
	served, madeNamespace bool
}

// startCluster returns when kubectl get ew works and Pods run. On an error nothing is left running.
func startCluster(ctx context.Context, o options, state *stateFolder, say func(format string, args ...any)) (_ *cluster, stop func(), err error) {
	if o.node != "" {
		return startRealCluster(ctx, o, state, say)
	}
	server, err := binary(o.server)
	if err != nil {
		return nil, nil, err
	}
	c, p, err := startPlane(ctx, state, nil, say)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	port, err := p.Port()
	if err != nil {
		return nil, nil, err
	}
	s := serverConfig{
		binary: server, kubeconfig: p.ServerKubeconfig, address: "127.0.0.1", port: port, service: loopbackService, servicePort: port,
	}
	if err := c.register(ctx, o, s); err != nil {
		return nil, nil, err
	}
	if !o.withoutServer {
		if err := c.startServer(ctx, s, say); err != nil {
			return nil, nil, err
		}
	}
	begin := time.Now()
	say("==> kube-controller-manager, kube-scheduler, kwok with a Node")
	if err := p.StartControllers(ctx); err != nil {
		return nil, nil, err
	}
	say("    ready after %s", since(begin))
	return c, p.Stop, nil
}

// startPlane starts the API of a cluster whose Pods run on the real Node, if there is one.
func startPlane(ctx context.Context, state *stateFolder, real *plane.Node, say func(format string, args ...any)) (*cluster, *plane.Plane, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	begin := time.Now()
	say("==> Kubernetes control plane in %s", state.path)
	p, err := plane.Start(ctx, plane.Config{State: state.path, Self: self, Progress: func(step string) { say("    %s", step) }, Node: real})
	if err != nil {
		return nil, nil, err
	}
	say("    ready after %s", since(begin))
	return &cluster{group: p.Group, state: state, self: self, kubeconfig: p.Kubeconfig}, p, nil
}

// serverConfig says how a server runs on this machine, and how the cluster reaches it.
type serverConfig struct {
	binary, kubeconfig string
	// address and port are where it listens.
	address string
	port    int
	// service is the manifest of the Service that leads to it, by servicePort.
	service     string
	servicePort int
}

// register tells the cluster of the server. The rights come before the server that needs them.
func (c *cluster) register(ctx context.Context, o options, s serverConfig) error {
	if err := writeRegistration(c.registration(), filepath.Join(o.artifacts, "deploy", "registration"), s.service, s.servicePort); err != nil {
		return err
	}
	return c.quietly(ctx, "apply", "-k", c.registration())
}

// startServer starts the server, and returns when its API is served by aggregation.
func (c *cluster) startServer(ctx context.Context, s serverConfig, say func(format string, args ...any)) error {
	say("==> elasticweb-apiserver at https://%s:%d", s.address, s.port)
	begin := time.Now()
	if err := c.group.Run("elasticweb-apiserver", nil, s.binary,
		"--kubeconfig="+s.kubeconfig,
		// Relative to the state folder, the working directory: a unix socket in it has a short name then.
		"--data-dir=elasticweb-apiserver",
		// There is one process, and nobody waits for it to leave a list of endpoints; and there may be little room.
		"--shutdown-delay-duration=0s", "--embedded-etcd-quota-backend-bytes=134217728",
		"--bind-address="+s.address, fmt.Sprintf("--secure-port=%d", s.port),
	); err != nil {
		return err
	}
	if err := c.group.Await(ctx, "elasticweb-apiserver to be ready", serverReady(s.port)); err != nil {
		return err
	}
	say("    ready after %s", since(begin))
	if err := c.group.Await(ctx, "the API to be served by aggregation", func(ctx context.Context) error {
		return c.quietly(ctx, "get", "elasticwebs", "--all-namespaces")
	}); err != nil {
		return err
	}
	c.served = true
	say("    served by aggregation after %s", since(begin))
	return nil
}

// registration is the folder of the manifests that register the server.
func (c *cluster) registration() string { return filepath.Join(c.state.path, "registration") }

// kubectl returns a kubectl command for this cluster, never for the caller's. Its cache stays with us.
func (c *cluster) kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.self, append([]string{"kubectl"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig, "KUBECACHEDIR="+filepath.Join(c.state.path, "kubectl-cache"),
		// The caller's preferences may make it ask questions.
		"KUBERC=off")
	return cmd
}

// exists says whether the cluster has the object; an error says that nobody knows.
func (c *cluster) exists(ctx context.Context, kind, name string) (bool, error) {
	output, err := c.kubectl(ctx, "get", kind, name, "--ignore-not-found", "-o", "name").Output()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		return false, fmt.Errorf("ask the cluster for %s %s: %w", kind, name, err)
	}
	return len(output) > 0, nil
}

// quietly runs kubectl; the error is what it says.
func (c *cluster) quietly(ctx context.Context, args ...string) error {
	output, err := c.kubectl(ctx, args...).CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("kubectl %s: %s", strings.Join(args, " "), strings.TrimSpace(string(output)))
	}
	return nil
}

// serverReady asks the server's /readyz. Like a kubelet's probe it does not ask who answers; the aggregation layer does.
func serverReady(port int) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/readyz", port), nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz says %s", response.Status)
		}
		return nil
	}
}

func binary(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the server's binary is missing: %w; `make build` makes it", err)
	}
	return path, nil
}

func since(begin time.Time) time.Duration { return time.Since(begin).Round(100 * time.Millisecond) }
