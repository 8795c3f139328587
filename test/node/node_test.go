package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"elasticweb.example.com/test/cluster"
)

// node is a Kubernetes with a real Node, in which nothing of ours runs yet; nodeIP is the Node's address.
var (
	node   *cluster.Cluster
	nodeIP string
)

const serverImage = "localhost/elasticweb-apiserver:local"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "Not run: a real Node needs root.")
		if os.Getenv("CI") != "" {
			os.Exit(1)
		}
		return
	}
	flags := []string{"--node=real", "--without-server", "--node-binary=" + filepath.Join(cluster.Root, "bin", "localnode")}
	for _, image := range []string{"coredns", "etcd", "pause", "elasticweb-apiserver", "web-v1", "web-v2"} {
		flags = append(flags, "--image="+filepath.Join(cluster.Root, "bin", "images", image+".tar"))
	}
	os.Exit(cluster.Run(m, func(c *cluster.Cluster) {
		node = c
		config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
		if err != nil {
			panic(err)
		}
		server, err := url.Parse(config.Host)
		if err != nil {
			panic(err)
		}
		nodeIP = server.Hostname()
	}, flags...))
}

// makeTarget runs a target of the Makefile against the cluster, and returns what it said.
func makeTarget(t testing.TB, arguments ...string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	kubectl, err := filepath.Abs(cluster.KubectlBinary())
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, "make", append([]string{"--no-print-directory"}, arguments...)...)
	command.Dir = cluster.Root
	command.Env = append(node.KubectlEnv(), "KUBECTL="+kubectl)
	text, err := command.CombinedOutput()
	return string(text), err
}

// deploy deploys the server from the manifests.
func deploy(t testing.TB, variables ...string) {
	t.Helper()
	begin := time.Now()
	if output, err := makeTarget(t, append([]string{"deploy", "IMG=" + serverImage}, variables...)...); err != nil {
		t.Fatalf("make deploy: %v\n%s\n%s", err, output, node.Kubectl(t, "get", "events,pods", "-n", "elasticweb-system"))
	}
	t.Logf("deployed after %v", time.Since(begin).Round(100*time.Millisecond))
	t.Cleanup(func() {
		if t.Failed() {
			logs, _, _ := node.TryKubectl(t, "", "logs", "-n", "elasticweb-system", "-l", "app.kubernetes.io/name=elasticweb-apiserver", "--tail=60")
			t.Logf("the log of the server:\n%s", logs)
		}
	})
}

// answer is what a new connection to the Node's port is answered.
func answer(ctx context.Context, port int, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(nodeIP, fmt.Sprint(port))+path, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return strings.TrimSpace(string(text)), err
}

// awaitAnswer waits until the Node's port is answered, and returns the answer: kube-proxy hears of a Pod that is ready a little later.
func awaitAnswer(t testing.TB, port int) (text string) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("port %d to be answered", port), func(ctx context.Context) (bool, string) {
		var err error
		text, err = answer(ctx, port, "/")
		return err == nil, fmt.Sprint(err)
	})
	return text
}

// apply applies a manifest.
func apply(t testing.TB, manifest string) {
	t.Helper()
	if output, errors, err := node.TryKubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("kubectl apply: %v\n%s%s", err, output, errors)
	}
}

// awaitReady waits until the ElasticWeb says that it is as it was last asked to be.
func awaitReady(t testing.TB, namespace, name string) {
	t.Helper()
	node.Kubectl(t, "wait", "-n", namespace, "elasticweb/"+name, "--for=condition=Ready", "--timeout=60s")
}
