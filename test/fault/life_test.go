package fault

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"elasticweb.example.com/test/cluster"
)

// closed says whether nobody listens at the address.
func closed(address string) bool {
	connection, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		_ = connection.Close()
	}
	return err != nil
}

// waits fails unless the replica lives, with its port closed, and its log says for what it waits.
func waits(t testing.TB, r *replica, what string) {
	t.Helper()
	cluster.Eventually(t, "the log to say what is waited for", func(context.Context) (bool, string) {
		text := r.text(t)
		return strings.Contains(text, what), text[max(0, len(text)-1000):]
	})
	select {
	case <-r.exited:
		t.Fatalf("%s has ended", r.name)
	default:
	}
	if !closed(fmt.Sprintf("127.0.0.1:%d", r.port)) {
		t.Error("the port is open")
	}
	if n := strings.Count(r.text(t), "Waiting; the port is closed"); n != 1 {
		t.Errorf("%d lines say it, want one a minute", n)
	}
}

// Complaint 7, and the start: what is not there yet is waited for, and nothing ends.
func TestTheStartWaits(t *testing.T) {
	t.Run("for the host", func(t *testing.T) {
		port := servicePort(t)
		haltHost(t)
		r := launch(t, "early", port)
		waits(t, r, "certificates are believed")
		// Who stops meanwhile is not made to wait.
		r.stop()
		r = launch(t, "early", port)
		waits(t, r, "certificates are believed")
		plane.Resume(t, "kube-apiserver")
		begin := awaitHost(t)
		r.awaitReady(t)
		t.Logf("ready %v after the host", time.Since(begin).Round(10*time.Millisecond))
		aggregated(t)
	})
	t.Run("not for what the host does not serve", startsWithoutAnAPI)
	t.Run("for etcd", func(t *testing.T) {
		installAfresh(t)
		e := newEtcd(t)
		e.kill()
		r := launch(t, "early", servicePort(t), "--etcd-servers="+e.address)
		waits(t, r, "etcd, and the copy of its identity")
		e.start(t)
		begin := time.Now()
		r.awaitReady(t)
		t.Logf("ready %v after etcd", time.Since(begin).Round(10*time.Millisecond))
	})
	t.Run("for a right", startWaitsForARight)
}

// Complaint 3: what the host does not serve is done without, and that can be seen.
func startsWithoutAnAPI(t *testing.T) {
	port := servicePort(t)
	haltHost(t)
	defer func() {
		haltHost(t)
		plane.Resume(t, "kube-apiserver")
		awaitHost(t)
		restartControllers(t)
	}()
	plane.Resume(t, "kube-apiserver", "--disable-admission-plugins=MutatingAdmissionPolicy",
		"--runtime-config=admissionregistration.k8s.io/v1/mutatingadmissionpolicies=false,admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings=false")
	awaitHost(t)
	r := start(t, "older-host", port)
	aggregated(t)
	if n := r.metric(t, `elasticweb_admission_plugin_off{plugin="MutatingAdmissionPolicy",reason="not_served"}`); n != 1 {
		t.Errorf("the metric is %v", n)
	}
	w := create(t, plane.Web, web(plane.Namespace(t), "web"))
	// The cluster's own controllers may still be backing off.
	replicasBecome(t, w.Namespace, w.Name, 1)
}

// Complaint 3: policies do not fail open for want of a right, and priority and fairness needs none.
func startWaitsForARight(t *testing.T) {
	const role = "elasticweb-apiserver"
	rules, err := plane.Kube.RbacV1().ClusterRoles().Get(t.Context(), role, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := rules.DeepCopy()
	for i := range rules.Rules {
		rule := &rules.Rules[i]
		if rule.APIGroups[0] == "admissionregistration.k8s.io" {
			rule.Resources = []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings"}
		}
		if rule.APIGroups[0] == "flowcontrol.apiserver.k8s.io" {
			rule.Resources = []string{"flowschemas"}
		}
	}
	restore := sync.OnceFunc(func() {
		all.ResourceVersion = rules.ResourceVersion
		if _, err := plane.Kube.RbacV1().ClusterRoles().Update(context.WithoutCancel(t.Context()), all, metav1.UpdateOptions{}); err != nil {
			t.Error(err)
		}
	})
	if rules, err = plane.Kube.RbacV1().ClusterRoles().Update(t.Context(), rules, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(restore)
	ours := "--kubeconfig=" + filepath.Join(plane.State, "kubeconfigs", "elasticweb-apiserver")
	cluster.Eventually(t, "the right to be gone", func(context.Context) (bool, string) {
		answer, errors, _ := plane.TryKubectl(t, "", ours, "auth", "can-i", "list", "mutatingadmissionpolicies.admissionregistration.k8s.io")
		return strings.HasPrefix(answer, "no"), answer + errors
	})
	r := launch(t, "forbidden", servicePort(t))
	waits(t, r, "may not list mutatingadmissionpolicies.admissionregistration.k8s.io")
	if !strings.Contains(r.text(t), "--disable-admission-plugins=MutatingAdmissionPolicy") {
		t.Error("the way out is not named")
	}
	// Which is a way out.
	other := launch(t, "without-policies", freePort(t), "--disable-admission-plugins=MutatingAdmissionPolicy")
	other.awaitReady(t)
	if n := other.metric(t, `elasticweb_admission_plugin_off{plugin="PriorityAndFairness",reason="forbidden"}`); n != 1 {
		t.Errorf("the metric of priority and fairness is %v", n)
	}
	restore()
	r.awaitReady(t)
}

// restartControllers spares the tests that follow the back-off of the others who missed kube-apiserver.
func restartControllers(t testing.TB) {
	t.Helper()
	for _, component := range []string{"kube-controller-manager", "kube-scheduler", "kwok"} {
		plane.Halt(t, component)
		plane.Resume(t, component)
	}
}

// haltHost ends kube-apiserver, and waits for that: what comes next is not answered by one that is about to end.
func haltHost(t testing.TB) {
	t.Helper()
	plane.Halt(t, "kube-apiserver")
	address := plane.Kube.Discovery().RESTClient().Get().URL().Host
	cluster.Eventually(t, "kube-apiserver to have ended", func(context.Context) (bool, string) { return closed(address), address })
}

// awaitHost waits until kube-apiserver is ready, and returns when it was.
func awaitHost(t testing.TB) time.Time {
	t.Helper()
	cluster.Eventually(t, "kube-apiserver to be ready", func(ctx context.Context) (bool, string) {
		err := plane.Kube.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		return err == nil, fmt.Sprint(err)
	})
	return time.Now()
}

// The host goes and comes back; we stay.
func TestAnOutageOfTheHost(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server", lease()...)
	w := create(t, r.web, web(ns, "web"))
	ready(t, r.web, w, 1)
	haltHost(t)
	outage := either(5*time.Second, time.Minute)
	time.Sleep(outage)
	if code, text, err := r.get(t.Context(), "/livez"); err != nil || code != http.StatusOK {
		t.Errorf("/livez: %d %v %s", code, err, text)
	}
	// Who needs no review is served.
	if _, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
		t.Errorf("with the host away: %v", err)
	}
	plane.Resume(t, "kube-apiserver")
	begin := awaitHost(t)
	aggregated(t)
	t.Logf("an outage of %v: the aggregated path is back %v after the host", outage, time.Since(begin).Round(10*time.Millisecond))
	demand(t, plane.Web, w, 200)
	replicasBecome(t, ns, "web", 2)
	t.Logf("and the controller acts %v after it", time.Since(begin).Round(10*time.Millisecond))
	restartControllers(t)
	ready(t, r.web, w, 2)
	select {
	case <-r.exited:
		t.Error("the server has ended")
	default:
	}
}

// etcd goes and comes back, killed or frozen; we stay, alive and not ready, and no workload is touched.
func TestAnOutageOfEtcd(t *testing.T) {
	installAfresh(t)
	ns := plane.Namespace(t)
	e := newEtcd(t)
	r := serve(t, "server", append(lease(), "--etcd-servers="+e.address)...)
	w := create(t, r.web, web(ns, "web"))
	ready(t, r.web, w, 1)
	before := workloads(t, ns)
	for _, how := range []string{"killed", "frozen"} {
		if how == "killed" {
			e.kill()
		} else if err := e.command.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		cluster.Eventually(t, "the server to say that it is not ready", func(ctx context.Context) (bool, string) {
			code, text, err := r.get(ctx, "/readyz")
			return code != http.StatusOK && err == nil && strings.Contains(text, "[-]etcd failed"), fmt.Sprint(code, err)
		})
		for time.Since(begin) < either(5*time.Second, time.Minute) {
			if code, text, err := r.get(t.Context(), "/livez"); err != nil || code != http.StatusOK {
				t.Errorf("/livez: %d %v %s", code, err, text)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if how == "killed" {
			e.start(t)
		} else if err := e.command.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		begin = time.Now()
		cluster.Eventually(t, "a write to succeed", func(ctx context.Context) (bool, string) {
			err := tryDemand(ctx, r.web, w, 100)
			return err == nil, fmt.Sprint(err)
		})
		t.Logf("etcd %s: the first write %v after it is back", how, time.Since(begin).Round(10*time.Millisecond))
		r.awaitReady(t)
		unharmed(t, ns, before, "after etcd was "+how)
	}
}

// A stop is announced before it happens, gives the lease away, hands over who uses the server, and ends well.
func TestTheOrderOfAStop(t *testing.T) {
	ns := plane.Namespace(t)
	delay := 4 * time.Second
	r := serve(t, "stopping", append(lease(), "--shutdown-delay-duration="+delay.String())...)
	awaitLeader(t, r)
	create(t, r.web, web(ns, "web"))
	registration, err := plane.Kube.Discovery().RESTClient().Get().AbsPath(apiServicePath).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	watch, err := r.web.ElasticwebV1().ElasticWebs(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	inFlight := holdRequest(t, r, ns)
	watched := make(chan time.Duration, 1)
	begin := time.Now()
	go func() {
		for range watch.ResultChan() {
		}
		watched <- time.Since(begin)
	}()
	r.signal(syscall.SIGTERM)
	cluster.Eventually(t, "not ready", func(ctx context.Context) (bool, string) {
		code, _, err := r.get(ctx, "/readyz")
		return err == nil && code != http.StatusOK, fmt.Sprint(code, err)
	})
	notReady := time.Since(begin)
	cluster.Eventually(t, "the lease to be given away", func(ctx context.Context) (bool, string) {
		held, err := plane.Kube.CoordinationV1().Leases("elasticweb-system").Get(ctx, "elasticweb-apiserver", metav1.GetOptions{})
		return err == nil && (held.Spec.HolderIdentity == nil || *held.Spec.HolderIdentity == ""), fmt.Sprint(err)
	})
	released := time.Since(begin)
	seen := requestUntilTheEnd(t, r, ns, begin, delay, inFlight)
	<-r.exited
	end := time.Since(begin)
	ended := <-watched
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	t.Logf("not ready after %v, lease given away after %v, watch ended after %v, connection handed over after %v, %d served until %v, %d told to come again, ended after %v",
		round(notReady), round(released), round(ended), round(seen.handedOver), seen.served, round(seen.last), seen.refused, round(end))
	if seen.handedOver < delay/2 || ended < delay/2 || ended > delay {
		t.Errorf("a connection that is used was handed over after %v, a watch ended after %v, want after half of %v", seen.handedOver, ended, delay)
	}
	if notReady > delay/2 || released > delay || seen.served == 0 || seen.last < delay-time.Second || seen.refused == 0 {
		t.Error("not in order")
	}
	if code := <-inFlight.answered; code != http.StatusCreated {
		t.Errorf("the request in flight was answered %d", code)
	}
	if code := r.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	// Complaint 8.
	after, err := plane.Kube.Discovery().RESTClient().Get().AbsPath(apiServicePath).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if uid := func(text []byte) string {
		_, uid, _ := strings.Cut(string(text), `"uid":"`)
		return uid[:36]
	}; uid(registration) != uid(after) {
		t.Error("the APIService is not the one of before")
	}
}

// stop is what a client saw of one: how many requests were served, the last of them when, how many were told to come again, and when its
// connection was closed by an answer.
type stop struct {
	served, refused  int
	last, handedOver time.Duration
}

// requestUntilTheEnd sends requests until the server is gone. It ends the request in flight once others are refused.
func requestUntilTheEnd(t *testing.T, r *replica, ns string, begin time.Time, delay time.Duration, inFlight *held) (seen stop) {
	t.Helper()
	webs := "/apis/elasticweb.example.com/v1/namespaces/" + ns + "/elasticwebs"
	for ; ; time.Sleep(20 * time.Millisecond) {
		if seen.handedOver == 0 && time.Since(begin) < delay-500*time.Millisecond && !reusesConnection(t, r, ns) {
			seen.handedOver = time.Since(begin)
		}
		code, _, err := r.get(t.Context(), webs)
		if err != nil {
			return seen
		}
		// Which takes a look at the storage, while everything else is going down.
		if missing, text, err := r.get(t.Context(), webs+"/none"); err == nil && missing != http.StatusNotFound && missing != http.StatusTooManyRequests {
			t.Errorf("an object that does not exist, during the stop: %d %s", missing, text)
		}
		switch code {
		case http.StatusOK:
			seen.served++
			seen.last = time.Since(begin)
			if seen.refused > 0 {
				t.Error("served after the first refusal")
			}
		case http.StatusTooManyRequests:
			seen.refused++
			inFlight.finish()
		default:
			t.Errorf("a request during the stop: %d", code)
		}
	}
}

// reusesConnection sends a request as a client does that keeps its connection.
func reusesConnection(t testing.TB, r *replica, ns string) (reused bool) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
	if _, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(ctx, "web", metav1.GetOptions{}); err != nil {
		t.Errorf("a request during the shutdown delay: %v", err)
	}
	return reused
}

// held is a request that has been sent by half.
type held struct {
	finish   func()
	answered chan int
}

func holdRequest(t testing.TB, r *replica, ns string) *held {
	t.Helper()
	reader, writer := io.Pipe()
	h := &held{answered: make(chan int, 1)}
	h.finish = sync.OnceFunc(func() {
		_, _ = io.WriteString(writer, `"metadata":{"name":"held"},"spec":{"image":"nginx","singlePodsQPS":1,"paused":true}}`)
		_ = writer.Close()
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		fmt.Sprintf("https://127.0.0.1:%d/apis/elasticweb.example.com/v1/namespaces/%s/elasticwebs", r.port, ns), reader)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	go func() {
		response, err := r.probe.Do(request)
		if err != nil {
			h.answered <- 0
			return
		}
		_ = response.Body.Close()
		h.answered <- response.StatusCode
	}()
	// Returns when the transport has taken it.
	if _, err := io.WriteString(writer, `{"apiVersion":"elasticweb.example.com/v1","kind":"ElasticWeb",`); err != nil {
		t.Fatal(err)
	}
	return h
}

// Complaint 1: one process goes and the next comes; for how long nobody answers is reported, and a namespace is deleted meanwhile.
func TestTheGapOfARestart(t *testing.T) {
	other := plane.Namespace(t)
	dir := shortDir(t)
	installAfresh(t)
	r := serve(t, "old", append(lease(), "--data-dir="+dir)...)
	answered := func(r *replica) bool {
		code, _, err := r.get(t.Context(), "/apis/elasticweb.example.com/v1/namespaces/"+other+"/elasticwebs")
		return err == nil && code == http.StatusOK
	}
	old, stopped := r, make(chan time.Time, 1)
	go func() {
		last := time.Now()
		for {
			if answered(old) {
				last = time.Now()
			}
			select {
			case <-old.exited:
				stopped <- last
				return
			default:
			}
		}
	}()
	r.stop()
	if err := plane.Kube.CoreV1().Namespaces().Delete(t.Context(), other, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	exited := time.Now()
	r = launch(t, "new", r.port, append(lease(), "--data-dir="+dir)...)
	for !answered(r) {
		if time.Since(exited) > cluster.Limit {
			t.Fatal("the new one does not answer")
		}
		time.Sleep(5 * time.Millisecond)
	}
	now := time.Now()
	last := <-stopped
	t.Logf("one replica: %v between the last answer of the old process and the first of the new one (%v of them until the old one had ended)",
		now.Sub(last).Round(time.Millisecond), exited.Sub(last).Round(time.Millisecond))
	aggregated(t)
	cluster.Eventually(t, "the namespace to go", func(ctx context.Context) (bool, string) {
		_, err := plane.Kube.CoreV1().Namespaces().Get(ctx, other, metav1.GetOptions{})
		return err != nil, "it is there"
	})
	t.Logf("a namespace that was deleted meanwhile is gone %v later", time.Since(now).Round(10*time.Millisecond))
}

// Complaint 7: the server and its controller work although the aggregation layer leads nowhere.
func TestTheAggregatedPathIsNotNeeded(t *testing.T) {
	ns := plane.Namespace(t)
	r := standBy(t, "unreachable", lease()...)
	awaitLeader(t, r)
	w := create(t, r.web, web(ns, "web"))
	ready(t, r.web, w, 1)
	if _, err := plane.Web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), "web", metav1.GetOptions{}); err == nil {
		t.Error("the aggregation layer leads to it: the test shows nothing")
	}
	// Complaint 13: the loopback certificate is watched.
	if _, text, err := r.get(t.Context(), "/livez?verbose"); err != nil || !strings.Contains(text, "loopback-serving-certificate ok") {
		t.Errorf("/livez: %v\n%s", err, text)
	}
	if _, err := r.web.ElasticwebV1().ElasticWebs(ns).Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"totalQPS":200}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	ready(t, r.web, w, 2)
}
