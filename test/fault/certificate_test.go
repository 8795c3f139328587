package fault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"elasticweb.example.com/test/cluster"
)

// stream sends requests through the aggregation layer, steadily, and counts those that fail.
type stream struct {
	sent, failed atomic.Int64
	mu           sync.Mutex
	first        error
	stop         func()
}

func streamOf(t testing.TB, ns string, clients int) *stream {
	t.Helper()
	s := &stream{}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				_, err := plane.Web.ElasticwebV1().ElasticWebs(ns).List(context.WithoutCancel(ctx), metav1.ListOptions{Limit: 1})
				s.sent.Add(1)
				if err != nil {
					s.failed.Add(1)
					s.mu.Lock()
					s.first = errors.Join(s.first, fmt.Errorf("%s: %w", time.Now().Format(time.RFC3339Nano), err))
					s.mu.Unlock()
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	s.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	t.Cleanup(s.stop)
	return s
}

func (s *stream) report(t testing.TB) {
	t.Helper()
	s.stop()
	t.Logf("%d requests through the aggregation layer, %d failed", s.sent.Load(), s.failed.Load())
	if s.failed.Load() > 0 {
		t.Errorf("failed: %v", s.first)
	}
}

// registered is what the APIService says of the connection to us.
func registered(ctx context.Context) (bundle []byte, insecure bool, err error) {
	text, err := plane.Kube.Discovery().RESTClient().Get().AbsPath(apiServicePath).DoRaw(ctx)
	if err != nil {
		return nil, false, err
	}
	var service struct {
		Spec struct {
			CABundle              []byte `json:"caBundle"`
			InsecureSkipTLSVerify bool   `json:"insecureSkipTLSVerify"`
		} `json:"spec"`
	}
	err = json.Unmarshal(text, &service)
	return service.Spec.CABundle, service.Spec.InsecureSkipTLSVerify, err
}

// handshake returns the certificate that is served, verified as the aggregation layer does it.
func handshake(port int, bundle []byte) (*x509.Certificate, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	connection, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{RootCAs: roots, ServerName: "elasticweb-apiserver.elasticweb-system.svc"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	return connection.ConnectionState().PeerCertificates[0], nil
}

// Complaint 5: certificates and their authority are replaced under load, and no request fails.
func TestCertificatesRotateAndNoRequestFails(t *testing.T) {
	installAfresh(t)
	ns := plane.Namespace(t)
	r := serve(t, "rotating", append(lease(), "--serving-cert-lifetime=12s", "--serving-cert-ca-lifetime=48s")...)
	requests := streamOf(t, ns, 8)
	leaves, authorities := map[string]bool{}, map[string]bool{}
	handshakes := 0
	wanted := either(3, 10)
	deadline := time.Now().Add(5 * cluster.Limit)
	deleted := false
	for len(leaves) <= wanted || len(authorities) < 2 {
		if time.Now().After(deadline) {
			t.Fatalf("only %d certificates, of %d authorities", len(leaves), len(authorities))
		}
		bundle, _, err := registered(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := handshake(r.port, bundle)
		if err != nil {
			t.Fatalf("a new connection, with the bundle of the APIService: %v", err)
		}
		handshakes++
		leaves[leaf.SerialNumber.String()] = true
		authorities[leaf.Issuer.CommonName] = true
		if !deleted && len(leaves) >= 2 {
			// Who wants a new authority before its time deletes the Secret.
			deleted = true
			if err := plane.Kube.CoreV1().Secrets("elasticweb-system").Delete(t.Context(), "elasticweb-apiserver-serving-cert", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d certificates of %d authorities, %d handshakes", len(leaves), len(authorities), handshakes)
	requests.report(t)
}

// Complaint 4: whatever happens to the APIService, the connection to us is verified again within seconds.
func TestTheRegistrationHeals(t *testing.T) {
	r := serve(t, "publishing", lease()...)
	awaitLeader(t, r)
	var good []byte
	cluster.Eventually(t, "the bundle", func(ctx context.Context) (bool, string) {
		var err error
		good, _, err = registered(ctx)
		return err == nil && len(good) > 0, fmt.Sprint(err)
	})
	for name, patch := range map[string]string{
		"a damaged bundle":      fmt.Sprintf(`{"spec":{"caBundle":%q}}`, base64.StdEncoding.EncodeToString(otherAuthority(t))),
		"no bundle":             `{"spec":{"caBundle":null}}`,
		"no verification":       `{"spec":{"caBundle":null,"insecureSkipTLSVerify":true}}`,
		"the bundle of a chart": fmt.Sprintf(`{"spec":{"caBundle":%q}}`, base64.StdEncoding.EncodeToString(append(otherAuthority(t), good...))),
	} {
		if err := plane.Kube.Discovery().RESTClient().Patch(types.MergePatchType).AbsPath(apiServicePath).Body([]byte(patch)).Do(t.Context()).Error(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		begin := time.Now()
		cluster.Eventually(t, name+" to heal", func(ctx context.Context) (bool, string) {
			bundle, insecure, err := registered(ctx)
			return err == nil && bytes.Equal(bundle, good) && !insecure, fmt.Sprint(err, insecure)
		})
		t.Logf("%s healed after %v", name, time.Since(begin).Round(time.Millisecond))
	}
	aggregated(t)
}

// otherAuthority is one that has not signed our certificate: that of the front proxy.
func otherAuthority(t testing.TB) []byte {
	t.Helper()
	configMap, err := plane.Kube.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return []byte(configMap.Data["requestheader-client-ca-file"])
}

// What the server writes at any verbosity is no key.
func TestNoSecretIsLogged(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "talkative", append(lease(), "-v=10")...)
	awaitLeader(t, r)
	create(t, r.web, web(ns, "web"))
	secret, err := plane.Kube.CoreV1().Secrets("elasticweb-system").Get(t.Context(), "elasticweb-apiserver-serving-cert", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := "a-token-that-nobody-must-see"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/apis", r.port), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	r.stop()
	log := r.text(t)
	if len(log) < 100_000 {
		t.Errorf("only %d bytes of log at -v=10", len(log))
	}
	for key, value := range secret.Data {
		if !strings.HasSuffix(key, ".key") {
			continue
		}
		for _, line := range strings.Split(string(value), "\n") {
			if len(line) > 40 && (strings.Contains(log, line) || strings.Contains(log, base64.StdEncoding.EncodeToString([]byte(line))[:40])) {
				t.Errorf("%s is in the log", key)
			}
		}
		if encoded := base64.StdEncoding.EncodeToString(value); strings.Contains(log, encoded[40:80]) {
			t.Errorf("%s is in the log, encoded", key)
		}
	}
	// Secrets arrive as protobuf, which the library would log as a dump.
	if !strings.Contains(log, `"Response Body"`) && !strings.Contains(log, "Response Body {") || strings.Contains(log, "00000000  ") {
		t.Error("bodies of requests are in the log, or the log does not speak of them at all")
	}
	if strings.Contains(log, token) {
		t.Error("a bearer token is in the log")
	}
}
