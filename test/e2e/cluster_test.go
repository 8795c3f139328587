package e2e

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

// limit is how long any test waits for an event.
const limit = 60 * time.Second

// root is the top folder of the repository.
const root = "../.."

// shared is the local cluster of all tests; each one works in a namespace of its own.
var shared *localCluster

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (_ int, err error) {
	state, err := os.MkdirTemp("", "ew-e2e")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(state) }()
	if shared, err = startCluster(state, os.Stderr); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, shared.stop()) }()
	if err := shared.connect(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// localCluster is a running `localcluster serve`.
type localCluster struct {
	state      string
	kubeconfig string
	command    *exec.Cmd
	stdin      io.Closer
	// output is what it said before it was ready.
	output string

	kube *kubernetes.Clientset
	web  *versioned.Clientset
}

// startCluster returns when the cluster is ready. It ends when we do: its standard input does then.
func startCluster(state string, stderr io.Writer) (*localCluster, error) {
	command := exec.Command(filepath.Join(root, "bin", "localcluster"), "serve", "--until-eof", "--state="+state,
		"--server="+filepath.Join(root, "bin", "elasticweb-apiserver"), "--artifacts="+filepath.Join(root, "artifacts"))
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
	c := &localCluster{state: state, kubeconfig: filepath.Join(state, "kubeconfig"), command: command, stdin: stdin}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if lines.Text() == "ready" {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return c, nil
		}
		c.output += lines.Text() + "\n"
	}
	return nil, fmt.Errorf("the local cluster did not start: %w", command.Wait())
}

func (c *localCluster) stop() error {
	_ = c.stdin.Close()
	return c.command.Wait()
}

func (c *localCluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	// Ours speaks protobuf; the other one needs its own copy.
	c.web, err = versioned.NewForConfig(rest.CopyConfig(config))
	return err
}

// kubectl runs kubectl and returns its standard output; it fails the test if kubectl does.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, errors, err := tryKubectl(t, "", args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, errors)
	}
	return output
}

func tryKubectl(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	// The test's own context has ended when its clean-up begins.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*limit)
	defer cancel()
	command := exec.CommandContext(ctx, kubectlBinary(), args...)
	command.Env = kubectlEnv()
	var out, errs bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &errs
	err = command.Run()
	return out.String(), errs.String(), err
}

// kubectlBinary is that of this release, unless KUBECTL names another one.
func kubectlBinary() string {
	if other := os.Getenv("KUBECTL"); other != "" {
		return other
	}
	return filepath.Join(root, "bin", "kubectl")
}

// kubectlEnv keeps kubectl to our cluster, and out of the user's files.
func kubectlEnv() []string {
	return append(os.Environ(), "KUBECONFIG="+shared.kubeconfig, "KUBECACHEDIR="+filepath.Join(shared.state, "kubectl-cache"), "KUBERC=off")
}

// namespaceOf is the name of the namespace of the test.
func namespaceOf(t *testing.T) string {
	name := "t-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	return name[:min(len(name), 61)]
}

// namespace makes a namespace for the test, and deletes it afterwards.
func namespace(t *testing.T) string {
	t.Helper()
	name := namespaceOf(t)
	kubectl(t, "create", "namespace", name)
	t.Cleanup(func() {
		command := exec.Command(filepath.Join(root, "bin", "kubectl"), "delete", "namespace", name, "--wait=false")
		command.Env = kubectlEnv()
		_ = command.Run()
	})
	return name
}

// eventually waits until the condition holds; what it says while it does not is in the failure.
func eventually(t *testing.T, what string, condition func(context.Context) (ok bool, now string)) {
	t.Helper()
	now := ""
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, limit, true, func(ctx context.Context) (ok bool, err error) {
		ok, now = condition(ctx)
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waited %v for %s; now: %s", limit, what, now)
	}
}
