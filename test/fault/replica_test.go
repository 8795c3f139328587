package fault

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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/generated/clientset/versioned"
	"elasticweb.example.com/test/cluster"
)

// replica is one process of our server. All replicas keep their objects in the etcd of the plane.
type replica struct {
	t    testing.TB
	name string
	port int
	// host is its way to kube-apiserver.
	host    *proxy
	command *exec.Cmd
	log     string
	exited  chan struct{}
	// web and raw lead to it directly.
	web   *versioned.Clientset
	raw   *kubernetes.Clientset
	probe *http.Client
}

// serve starts a replica that serves what the APIService leads to, and returns when it is ready.
func serve(t testing.TB, name string, flags ...string) *replica {
	t.Helper()
	r := start(t, name, servicePort(t), flags...)
	aggregated(t)
	return r
}

// servicePort is where the APIService leads to.
func servicePort(t testing.TB) int {
	t.Helper()
	registered, err := plane.Kube.Discovery().RESTClient().Get().AbsPath(apiServicePath).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(registered), `"port":`)
	port, err := strconv.Atoi(after[:strings.IndexAny(after, ",}")])
	if err != nil {
		t.Fatalf("the port of the APIService: %v", err)
	}
	return port
}

const apiServicePath = "/apis/apiregistration.k8s.io/v1/apiservices/v1.elasticweb.example.com"

// aggregated waits until the API is served by aggregation.
func aggregated(t testing.TB) {
	t.Helper()
	cluster.Eventually(t, "the API to be served by aggregation", func(ctx context.Context) (bool, string) {
		_, err := plane.Web.ElasticwebV1().ElasticWebs("").List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, fmt.Sprint(err)
	})
}

// standBy starts a replica that the APIService does not lead to.
func standBy(t testing.TB, name string, flags ...string) *replica {
	t.Helper()
	return start(t, name, freePort(t), flags...)
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

func start(t testing.TB, name string, port int, flags ...string) *replica {
	t.Helper()
	r := launch(t, name, port, flags...)
	r.awaitReady(t)
	return r
}

// launch starts a replica, and does not wait for it.
func launch(t testing.TB, name string, port int, flags ...string) *replica {
	t.Helper()
	return launchBinary(t, filepath.Join(cluster.Root, "bin", "elasticweb-apiserver"), name, port, flags...)
}

// launchBinary is launch, of any release.
func launchBinary(t testing.TB, binary, name string, port int, flags ...string) *replica {
	t.Helper()
	admin, err := clientcmd.BuildConfigFromFlags("", plane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{t: t, name: name, port: port, exited: make(chan struct{})}
	kubeconfig := r.connect(t, admin.Host)
	r.log = filepath.Join(plane.State, "logs", name+".log")
	log, err := os.Create(r.log)
	if err != nil {
		t.Fatal(err)
	}
	server, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(flags, func(flag string) bool {
		return strings.HasPrefix(flag, "--etcd-servers") || strings.HasPrefix(flag, "--data-dir")
	}) {
		flags = append(flags, "--etcd-servers="+planeEtcd(t), "--etcd-prefix=/elasticweb")
	}
	r.command = exec.Command(server, append([]string{
		"--kubeconfig=" + kubeconfig,
		// The tests restart servers while controllers watch them.
		"--shutdown-watch-termination-grace-period=1s", "--shutdown-delay-duration=0s", "--embedded-etcd-quota-backend-bytes=134217728",
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
	}, flags...)...)
	r.command.Dir, r.command.Stdout, r.command.Stderr = plane.State, log, log
	r.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.command.Wait()
		_ = log.Close()
		close(r.exited)
	}()
	t.Cleanup(func() {
		r.host.mend()
		r.signal(syscall.SIGCONT)
		r.stop()
		if t.Failed() {
			text, _ := os.ReadFile(r.log)
			t.Logf("the end of the log of %s:\n%s", name, text[max(0, len(text)-6000):])
			// It may be the cluster that did not do its part.
			state, _, _ := plane.TryKubectl(t, "", "get", "nodes,pods,events", "-A", "--sort-by=.metadata.creationTimestamp")
			t.Logf("the end of what the cluster has:\n%s", state[max(0, len(state)-4000):])
		}
	})
	r.makeClients(t, admin)
	return r
}

// connect writes the replica's kubeconfig, with its own way to the host.
func (r *replica) connect(t testing.TB, host string) (path string) {
	t.Helper()
	hostURL, err := url.Parse(host)
	if err != nil {
		t.Fatal(err)
	}
	r.host = newProxy(t, "127.0.0.1:0", hostURL.Host)
	kubeconfig, err := clientcmd.LoadFromFile(filepath.Join(plane.State, "kubeconfigs", "elasticweb-apiserver"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range kubeconfig.Clusters {
		c.Server = "https://" + r.host.address()
	}
	path = filepath.Join(plane.State, "kubeconfigs", r.name)
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// planeEtcd is the address of the etcd of the plane.
func planeEtcd(t testing.TB) string {
	t.Helper()
	address, err := os.ReadFile(filepath.Join(plane.State, "etcd-address"))
	if err != nil {
		t.Fatal(err)
	}
	return string(address)
}

// makeClients makes clients that lead to the replica itself.
func (r *replica) makeClients(t testing.TB, admin *rest.Config) {
	t.Helper()
	direct := rest.CopyConfig(admin)
	direct.Host = fmt.Sprintf("https://127.0.0.1:%d", r.port)
	direct.QPS = -1
	// A client certificate, and on loopback: who serves is no question here.
	direct.CAData, direct.CAFile, direct.Insecure = nil, "", true
	var err error
	if r.raw, err = kubernetes.NewForConfig(direct); err != nil {
		t.Fatal(err)
	}
	if r.web, err = versioned.NewForConfig(rest.CopyConfig(direct)); err != nil {
		t.Fatal(err)
	}
	tls, err := rest.TLSConfigFor(direct)
	if err != nil {
		t.Fatal(err)
	}
	// A new connection each time, as a kubelet's probe has.
	r.probe = &http.Client{Transport: &http.Transport{TLSClientConfig: tls, DisableKeepAlives: true}, Timeout: 10 * time.Second}
}

// get asks the replica for a path, over a new connection, and returns the status code and the answer.
func (r *replica) get(ctx context.Context, path string) (code int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d%s", r.port, path), nil)
	if err != nil {
		return 0, "", err
	}
	response, err := r.probe.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// text is the log.
func (r *replica) text(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(r.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// awaitReady waits until the replica says that it is, and serves.
func (r *replica) awaitReady(t testing.TB) {
	t.Helper()
	cluster.Eventually(t, r.name+" to be ready", func(ctx context.Context) (bool, string) {
		select {
		case <-r.exited:
			text, _ := os.ReadFile(r.log)
			t.Fatalf("%s has ended:\n%s", r.name, text)
		default:
		}
		for _, path := range []string{"/readyz", "/apis/" + v1.GroupName} {
			if code, _, err := r.get(ctx, path); err != nil || code != http.StatusOK {
				return false, fmt.Sprintf("%s: %d %v", path, code, err)
			}
		}
		return true, ""
	})
}

func (r *replica) signal(signal os.Signal) { _ = r.command.Process.Signal(signal) }

// stop ends the replica in order, and waits for that. One that does not end is a failure, and is killed.
func (r *replica) stop() {
	r.signal(syscall.SIGTERM)
	select {
	case <-r.exited:
	case <-time.After(cluster.Limit):
		r.t.Errorf("%s does not end within %v", r.name, cluster.Limit)
		r.signal(syscall.SIGKILL)
		<-r.exited
	}
}

// metric is the sum of the samples whose line begins so.
func (r *replica) metric(t testing.TB, begin string) (sum float64) {
	t.Helper()
	text, err := r.raw.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, begin); ok {
			fields := strings.Fields(rest)
			value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += value
		}
	}
	return sum
}

// leads says whether the replica is the leader, in its own view.
func (r *replica) leads(t testing.TB) bool {
	return r.metric(t, `leader_election_master_status{name="elasticweb-apiserver"}`) == 1
}

func awaitLeader(t testing.TB, r *replica) {
	t.Helper()
	cluster.Eventually(t, r.name+" to lead", func(context.Context) (bool, string) { return r.leads(t), "it does not" })
}
