package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"elasticweb.example.com/hack/localcluster/node"
	"elasticweb.example.com/hack/localcluster/process"
)

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// run is `make run`.
func run(ctx context.Context, o options) error {
	if o.cluster != "" {
		return runCurrent(ctx, o)
	}
	return withCluster(ctx, o, func(ctx context.Context, c *cluster) error {
		return show(ctx, c, o)
	})
}

// show demonstrates the cluster, and stays until Ctrl-C unless it is to happen once.
func show(ctx context.Context, c *cluster, o options) error {
	if err := demonstrate(ctx, c, o); err != nil || o.once {
		return err
	}
	kubeconfig := c.kubeconfig
	if here, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(here, kubeconfig); err == nil {
			kubeconfig = relative
		}
	}
	say("\nTry in another terminal:\n")
	for _, try := range []string{
		`patch ew elasticweb-sample -n dev --type=merge -p '{"spec":{"totalQPS":4000}}'`,
		`get ew -n dev --watch`,
		`explain elasticweb.spec`,
	} {
		say("  KUBECONFIG=%s bin/kubectl %s", kubeconfig, try)
	}
	say("\nRunning. Ctrl-C ends it and cleans up.")
	return linger(ctx, c, nil)
}

// serve runs the cluster for a program that reads "ready" from its standard output.
func serve(ctx context.Context, o options) error {
	if o.node != "" && o.node != "real" {
		return fmt.Errorf("--node is %q: it must be real, or empty", o.node)
	}
	if _, inside := node.Inside(); o.node == "real" && !inside {
		return node.Enter(ctx)
	}
	var eof <-chan struct{}
	orders := make(chan string)
	if o.untilEOF {
		closed := make(chan struct{})
		eof = closed
		go func() {
			for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
				orders <- lines.Text()
			}
			close(closed)
		}()
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() {
			<-closed
			cancel()
		}()
	}
	return withCluster(ctx, o, func(ctx context.Context, c *cluster) error {
		say("ready")
		go func() {
			for order := range orders {
				if err := obey(c.group, order); err != nil {
					say("%s: %v", order, err)
				}
			}
		}()
		return linger(ctx, c, eof)
	})
}

// obey lets who runs us end a component, and start it again: "halt kube-apiserver", "resume kube-apiserver --more=flags".
func obey(group *process.Group, order string) error {
	words := strings.Fields(order)
	switch {
	case len(words) == 2 && words[0] == "halt":
		return group.Halt(words[1])
	case len(words) >= 2 && words[0] == "resume":
		return group.Resume(words[1], words[2:]...)
	default:
		return errors.New("not understood: halt or resume, the name of a component, and for resume more flags")
	}
}

// withCluster runs f beside a cluster, and leaves neither a process nor a file but the logs.
func withCluster(ctx context.Context, o options, f func(context.Context, *cluster) error) (err error) {
	if !o.untilEOF && os.Getenv(detached) == "" {
		// If what started us dies, so do we, in order.
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0)
	}
	state, err := openState(o.state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.close()) }()
	c, stop, err := startCluster(ctx, o, state, say)
	if err != nil {
		return err
	}
	defer stop()
	return f(ctx, c)
}

// linger returns nil when the user, or the program that asked for the cluster, has had enough.
func linger(ctx context.Context, c *cluster, eof <-chan struct{}) error {
	select {
	case <-ctx.Done():
	case <-eof:
	case err := <-c.group.Failed():
		return err
	}
	say("Stopping.")
	return nil
}

// demonstrate applies the sample, waits until it is Ready, and shows it.
func demonstrate(ctx context.Context, c *cluster, o options) error {
	sample := filepath.Join(o.artifacts, "example", "elasticweb-sample.yaml")
	steps := [][]string{
		{"apply", "-f", sample},
		{"wait", "-n", "dev", "elasticweb/elasticweb-sample", "--for=condition=Ready", "--timeout=120s"},
		{"get", "ew", "-n", "dev"},
		{"get", "ew", "-n", "dev", "-o", "wide"},
		{"get", "all", "-n", "dev"},
	}
	exists, err := c.exists(ctx, "namespace", "dev")
	if err != nil {
		return err
	}
	if !exists {
		steps = slices.Insert(steps, 0, []string{"create", "namespace", "dev"})
	}
	for _, args := range steps {
		say("\n$ kubectl %s", strings.Join(args, " "))
		kubectl := c.kubectl(ctx, args...)
		kubectl.Stdout, kubectl.Stderr = os.Stdout, os.Stderr
		if err := kubectl.Run(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the demonstration failed at `kubectl %s`: %w; the logs are in %s",
				strings.Join(args, " "), err, filepath.Join(c.state.path, "logs"))
		}
		// Only what we have certainly made is ours to delete.
		c.madeNamespace = c.madeNamespace || args[0] == "create"
	}
	return nil
}

// detached, in the environment, tells a process that `up` started not to die with its parent.
const detached = "LOCALCLUSTER_DETACHED"

// up is `make up`.
func up(ctx context.Context, o options) error {
	state, err := openState(o.state)
	var inUse *errInUse
	if errors.As(err, &inUse) {
		say("Already up in %s (process %d).", inUse.path, inUse.pid)
		return nil
	}
	if err != nil {
		return err
	}
	logs := filepath.Join(state.path, "logs")
	if err := errors.Join(os.MkdirAll(logs, 0o755), state.close()); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	stderr, err := os.Create(filepath.Join(logs, "localcluster.log"))
	if err != nil {
		return err
	}
	defer func() { _ = stderr.Close() }()
	args := []string{"serve", "--state=" + o.state, "--server=" + o.server, "--artifacts=" + o.artifacts, "--node=" + o.node, "--node-binary=" + o.nodeBinary}
	for _, image := range o.images {
		args = append(args, "--image="+image)
	}
	server := exec.Command(self, args...)
	server.Env = append(os.Environ(), detached+"=1")
	server.Stderr = stderr
	server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdout, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if lines.Text() == "ready" {
				ready <- true
				return
			}
			say("%s", lines.Text())
		}
		ready <- false
	}()
	select {
	case ok := <-ready:
		if ok {
			say("Up. KUBECONFIG=%s bin/kubectl get ew -A; `make down` ends it.", filepath.Join(o.state, "kubeconfig"))
			return server.Process.Release()
		}
		_ = server.Wait()
		message, _ := os.ReadFile(stderr.Name())
		return errors.New(strings.TrimPrefix(strings.TrimSpace(string(message)), "error: "))
	case <-ctx.Done():
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
		return ctx.Err()
	}
}

// down is `make down`.
func down(o options) error {
	running, err := stopRunning(o.state)
	if err != nil {
		return err
	}
	if running {
		say("Down. The logs are in %s.", filepath.Join(o.state, "logs"))
	} else {
		say("Nothing was running.")
	}
	return nil
}
