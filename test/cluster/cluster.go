package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"elasticweb.example.com/pkg/generated/clientset/versioned"
)

// Limit is how long any test waits for an event.
const Limit = 60 * time.Second

// Root is the top folder of the repository, as a test sees it.
const Root = "../.."

// Cluster is a running `localcluster serve`.
type Cluster struct {
	// State is the folder of all that the cluster writes.
	State string
	// Kubeconfig is an administrator's.
	Kubeconfig string
	// Output is what it said before it was ready.
	Output string
	// Kube and Web are an administrator's clients.
	Kube *kubernetes.Clientset
	Web  *versioned.Clientset

	command *exec.Cmd
	stdin   io.WriteCloser
}

// Run runs the tests of a package beside one cluster that all of them share. It returns the exit status.
func Run(m *testing.M, use func(*Cluster), flags ...string) int {
	code, err := run(m, use, flags...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "the local cluster of the tests:", err)
		return 1
	}
	return code
}

func run(m *testing.M, use func(*Cluster), flags ...string) (_ int, err error) {
	state, err := os.MkdirTemp("", "ew-test")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(state) }()
	c, err := Start(state, os.Stderr, flags...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	use(c)
	return m.Run(), nil
}

// Start returns when the cluster is ready. It ends when we do: its standard input does then.
func Start(state string, stderr io.Writer, flags ...string) (*Cluster, error) {
	command := exec.Command(filepath.Join(Root, "bin", "localcluster"), append([]string{"serve", "--until-eof", "--state=" + state,
		"--server=" + filepath.Join(Root, "bin", "elasticweb-apiserver"), "--artifacts=" + filepath.Join(Root, "artifacts")}, flags...)...)
	command.Stderr = stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("%w: `make build` makes it", err)
	}
	c := &Cluster{State: state, Kubeconfig: filepath.Join(state, "kubeconfig"), command: command, stdin: stdin}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if lines.Text() == "ready" {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return c, c.connect()
		}
		c.Output += lines.Text() + "\n"
	}
	return nil, fmt.Errorf("the local cluster did not start: %w", command.Wait())
}

func (c *Cluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	if c.Kube, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	// Ours speaks protobuf; the other one needs its own copy.
	c.Web, err = versioned.NewForConfig(rest.CopyConfig(config))
	return err
}

// Stop ends the cluster and waits for that.
func (c *Cluster) Stop() error {
	_ = c.stdin.Close()
	return c.command.Wait()
}

// Halt ends a component of the control plane, such as kube-apiserver. What uses it is not told.
func (c *Cluster) Halt(t testing.TB, component string) { c.order(t, "halt "+component) }

// Resume starts it again, this time with more flags.
func (c *Cluster) Resume(t testing.TB, component string, more ...string) {
	c.order(t, strings.Join(append([]string{"resume", component}, more...), " "))
}

func (c *Cluster) order(t testing.TB, order string) {
	t.Helper()
	if _, err := fmt.Fprintln(c.stdin, order); err != nil {
		t.Fatal(err)
	}
}

// Kubectl runs kubectl and returns its standard output; it fails the test if kubectl does.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	output, errors, err := c.TryKubectl(t, "", args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, errors)
	}
	return output
}

// TryKubectl runs kubectl, which may fail.
func (c *Cluster) TryKubectl(t testing.TB, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	// The test's own context has ended when its clean-up begins.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*Limit)
	defer cancel()
	command := exec.CommandContext(ctx, KubectlBinary(), args...)
	command.Env = c.KubectlEnv()
	var out, errs bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &errs
	err = command.Run()
	return out.String(), errs.String(), err
}

// KubectlBinary is that of this release, unless KUBECTL names another one.
func KubectlBinary() string {
	if other := os.Getenv("KUBECTL"); other != "" {
		return other
	}
	return filepath.Join(Root, "bin", "kubectl")
}

// KubectlEnv keeps kubectl to our cluster, and out of the user's files.
func (c *Cluster) KubectlEnv() []string {
	return append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "KUBECACHEDIR="+filepath.Join(c.State, "kubectl-cache"), "KUBERC=off")
}

// Namespace makes a namespace for the test, and deletes it afterwards.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	name := NamespaceOf(t)
	c.Kubectl(t, "create", "namespace", name)
	t.Cleanup(func() {
		command := exec.Command(filepath.Join(Root, "bin", "kubectl"), "delete", "namespace", name, "--wait=false")
		command.Env = c.KubectlEnv()
		_ = command.Run()
	})
	return name
}

// NamespaceOf is the name of the namespace of the test.
func NamespaceOf(t testing.TB) string {
	name := "t-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	return name[:min(len(name), 61)]
}

// Eventually waits until the condition holds; what it says while it does not is in the failure.
func Eventually(t testing.TB, what string, condition func(context.Context) (ok bool, now string)) {
	t.Helper()
	now := ""
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, Limit, true, func(ctx context.Context) (ok bool, err error) {
		ok, text := condition(ctx)
		// What was cut short by the end of the wait says nothing.
		if ctx.Err() == nil || now == "" {
			now = text
		}
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waited %v for %s; now: %s", Limit, what, now)
	}
}
