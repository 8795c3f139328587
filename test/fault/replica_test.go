package fault

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
	name string
	port int
	// host is its way to kube-apiserver.
	host    *proxy
	command *exec.Cmd
	log     string
	exited  chan struct{}
	// web and raw lead to it directly.
	web *versioned.Clientset
	raw *kubernetes.Clientset
}

// serve starts a replica that serves what the APIService leads to, and returns when it is ready.
func serve(t testing.TB, name string, flags ...string) *replica {
	t.Helper()
	registered, err := plane.Kube.Discovery().RESTClient().Get().AbsPath("/apis/apiregistration.k8s.io/v1/apiservices/v1.elasticweb.example.com").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(registered), `"port":`)
	port, err := strconv.Atoi(after[:strings.IndexAny(after, ",}")])
	if err != nil {
		t.Fatalf("the port of the APIService: %v", err)
	}
	r := start(t, name, port, flags...)
	cluster.Eventually(t, "the API to be served by aggregation", func(ctx context.Context) (bool, string) {
		_, err := plane.Web.ElasticwebV1().ElasticWebs("").List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, fmt.Sprint(err)
	})
	return r
}

// standBy starts a replica that the APIService does not lead to.
func standBy(t testing.TB, name string, flags ...string) *replica {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	return start(t, name, port, flags...)
}

func start(t testing.TB, name string, port int, flags ...string) *replica {
	t.Helper()
	admin, err := clientcmd.BuildConfigFromFlags("", plane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	hostURL, err := url.Parse(admin.Host)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{name: name, port: port, host: newProxy(t, "127.0.0.1:0", hostURL.Host), exited: make(chan struct{})}

	// The replica's kubeconfig, with its own way to the host.
	kubeconfig, err := clientcmd.LoadFromFile(filepath.Join(plane.State, "kubeconfigs", "elasticweb-apiserver"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range kubeconfig.Clusters {
		c.Server = "https://" + r.host.address()
	}
	path := filepath.Join(plane.State, "kubeconfigs", name)
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		t.Fatal(err)
	}

	r.log = filepath.Join(plane.State, "logs", name+".log")
	log, err := os.Create(r.log)
	if err != nil {
		t.Fatal(err)
	}
	server, err := filepath.Abs(filepath.Join(cluster.Root, "bin", "elasticweb-apiserver"))
	if err != nil {
		t.Fatal(err)
	}
	etcd, err := os.ReadFile(filepath.Join(plane.State, "etcd-address"))
	if err != nil {
		t.Fatal(err)
	}
	r.command = exec.Command(server, append([]string{
		"--kubeconfig=" + path,
		"--etcd-servers=" + string(etcd), "--etcd-prefix=/elasticweb",
		// The tests restart servers while controllers watch them.
		"--shutdown-watch-termination-grace-period=1s", "--shutdown-delay-duration=0s",
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
		r.signal(syscall.SIGTERM)
		<-r.exited
		if t.Failed() {
			text, _ := os.ReadFile(r.log)
			t.Logf("the end of the log of %s:\n%s", name, text[max(0, len(text)-6000):])
		}
	})

	direct := rest.CopyConfig(admin)
	direct.Host = fmt.Sprintf("https://127.0.0.1:%d", port)
	direct.QPS = -1
	// A client certificate, and on loopback: who serves is no question here.
	direct.CAData, direct.CAFile, direct.Insecure = nil, "", true
	if r.raw, err = kubernetes.NewForConfig(direct); err != nil {
		t.Fatal(err)
	}
	if r.web, err = versioned.NewForConfig(rest.CopyConfig(direct)); err != nil {
		t.Fatal(err)
	}
	// A new connection each time: one that was made before the server knew whose client certificates to ask for stays without.
	fresh, err := rest.TLSConfigFor(direct)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: fresh, DisableKeepAlives: true}}
	cluster.Eventually(t, name+" to be ready", func(ctx context.Context) (bool, string) {
		select {
		case <-r.exited:
			text, _ := os.ReadFile(r.log)
			t.Fatalf("%s has ended:\n%s", name, text)
		default:
		}
		for _, path := range []string{"/readyz", "/apis/" + v1.GroupName} {
			response, err := client.Get(direct.Host + path)
			if err != nil {
				return false, err.Error()
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return false, path + ": " + response.Status
			}
		}
		return true, ""
	})
	return r
}

func (r *replica) signal(signal os.Signal) { _ = r.command.Process.Signal(signal) }

// stop ends the replica in order, and waits for that.
func (r *replica) stop() {
	r.signal(syscall.SIGTERM)
	<-r.exited
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
