package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"elasticweb.example.com/hack/localcluster/plane"
)

// cluster is a control plane with elasticweb-apiserver registered in it.
type cluster struct {
	plane *plane.Plane
	state *stateFolder
	// environment is what kubectl runs with: our cluster, never the caller's, and our cache.
	environment []string
}

// startCluster returns when kubectl get ew works. On an error nothing is left running.
func startCluster(ctx context.Context, o options, state *stateFolder, say func(format string, args ...any)) (_ *cluster, err error) {
	server, err := binary(o.server)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	say("==> Kubernetes control plane in %s", state.path)
	p, err := plane.Start(ctx, state.path, self, func(step string) { say("    %s", step) })
	if err != nil {
		return nil, err
	}
	c := &cluster{plane: p, state: state, environment: []string{
		"KUBECONFIG=" + p.Kubeconfig, "KUBECACHEDIR=" + filepath.Join(state.path, "kubectl-cache"),
	}}
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	say("    ready after %s", since(begin))

	port, err := p.Port()
	if err != nil {
		return nil, err
	}
	say("==> elasticweb-apiserver at https://127.0.0.1:%d", port)
	registration := filepath.Join(state.path, "registration")
	if err := writeRegistration(registration, filepath.Join(o.artifacts, "deploy", "registration"), loopbackService, port); err != nil {
		return nil, err
	}
	// The rights come before the server that needs them.
	if err := c.quietly(ctx, "apply", "-k", registration); err != nil {
		return nil, err
	}
	begin = time.Now()
	if _, err := p.Run("elasticweb-apiserver", nil, server,
		"--kubeconfig="+p.ServerKubeconfig,
		// Relative to the state folder, the working directory: a unix socket in it has a short name then.
		"--data-dir=elasticweb-apiserver",
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
	); err != nil {
		return nil, err
	}
	if err := c.await(ctx, "elasticweb-apiserver to be ready", serverReady(state.path, port)); err != nil {
		return nil, err
	}
	say("    ready after %s", since(begin))
	if err := c.await(ctx, "the API to be served by aggregation", func(ctx context.Context) error {
		return c.quietly(ctx, "get", "elasticwebs", "--all-namespaces")
	}); err != nil {
		return nil, err
	}
	say("    registered: APIService v1.elasticweb.example.com is available after %s", since(begin))
	return c, nil
}

func (c *cluster) stop() { c.plane.Stop() }

// kubectl returns a kubectl command for this cluster.
func (c *cluster) kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.plane.Self, append([]string{"kubectl"}, args...)...)
	cmd.Env = append(os.Environ(), c.environment...)
	return cmd
}

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

// await calls attempt until it succeeds, a program of the cluster fails, or ctx ends.
func (c *cluster) await(ctx context.Context, what string, attempt func(context.Context) error) error {
	return c.plane.Await(ctx, what, attempt)
}

// serverReady asks the server's /readyz, trusting the authority that it made at its first start.
func serverReady(state string, port int) func(context.Context) error {
	return func(ctx context.Context) error {
		ca, err := os.ReadFile(filepath.Join(state, "elasticweb-apiserver", "pki", "ca.crt"))
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			return errors.New("the certificate authority is not written yet")
		}
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true,
		}}
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
