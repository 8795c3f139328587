package fault

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"elasticweb.example.com/test/cluster"
)

// authority signs client certificates; the zero value lets each sign itself.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// planeAuthority is one of the plane's: "ca" of users, "front-proxy-ca" of the aggregation layer.
func planeAuthority(t testing.TB, name string) *authority {
	t.Helper()
	certs, err := certutil.CertsFromFile(filepath.Join(plane.State, "pki", name+".crt"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := keyutil.PrivateKeyFromFile(filepath.Join(plane.State, "pki", name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: certs[0], key: key.(crypto.Signer)}
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: name}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key}
}

func (a *authority) client(t testing.TB, name string, groups ...string) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	if a != nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()),
			Subject:      pkix.Name{CommonName: name, Organization: groups},
			NotBefore:    time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
		if err != nil {
			t.Fatal(err)
		}
		// Whatever the server says that it believes: a spoofer shows it all the same.
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
		}
	}
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func ask(t testing.TB, client *http.Client, method, url string, headers map[string]string, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// Headers that name a user are believed from the aggregation layer alone. Every way to look like it is tried with every header.
func TestNobodyPassesForAnotherByHeaders(t *testing.T) {
	r := serve(t, "server", lease()...)
	users, proxies := planeAuthority(t, "ca"), planeAuthority(t, "front-proxy-ca")
	list := fmt.Sprintf("https://127.0.0.1:%d/apis/elasticweb.example.com/v1/elasticwebs", r.port)

	shown := map[string]struct {
		client *http.Client
		// self is who it is without headers; empty: nobody, a 401.
		self string
	}{
		"no certificate":                            {(*authority)(nil).client(t, ""), ""},
		"a user's":                                  {users.client(t, "mallory"), "mallory"},
		"a user's with the front proxy's name":      {users.client(t, "front-proxy-client"), "front-proxy-client"},
		"a user's in a group of that name":          {users.client(t, "mallory", "front-proxy-client"), "mallory"},
		"another name of the front proxy's CA":      {proxies.client(t, "someone-else"), ""},
		"no name of the front proxy's CA":           {proxies.client(t, ""), ""},
		"of an unknown authority":                   {newAuthority(t, "unknown").client(t, "front-proxy-client"), ""},
		"of one that has the front proxy CA's name": {newAuthority(t, "front-proxy-ca").client(t, "front-proxy-client"), ""},
	}
	headers := map[string]map[string]string{
		"user":           {"X-Remote-User": "admin"},
		"user and group": {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"},
		"group":          {"X-Remote-Group": "system:masters"},
		"uid":            {"X-Remote-User": "admin", "X-Remote-Uid": "1", "X-Remote-Group": "system:masters"},
		"extra":          {"X-Remote-User": "admin", "X-Remote-Group": "system:masters", "X-Remote-Extra-Scopes": "all"},
		"lower case":     {"x-remote-user": "admin", "x-remote-group": "system:masters"},
		"impersonation":  {"Impersonate-User": "admin", "Impersonate-Group": "system:masters"},
		"with a token":   {"X-Remote-User": "admin", "X-Remote-Group": "system:masters", "Authorization": "Bearer nonsense"},
	}
	for certificate, by := range shown {
		for header, values := range headers {
			for _, path := range []string{"", "?watch=true&timeoutSeconds=1"} {
				code, text := ask(t, by.client, http.MethodGet, list+path, values, "")
				switch {
				case by.self == "" && code == http.StatusUnauthorized:
				// An authority that the server does not name ends in the handshake, or is nobody.
				case by.self != "" && code == http.StatusForbidden && strings.Contains(text, fmt.Sprintf(`\"%s\"`, by.self)):
				default:
					t.Errorf("certificate %s, headers %s%s: %d %s", certificate, header, path, code, text)
				}
			}
		}
	}
	// The matrix would pass with a server that believes nobody.
	code, text := ask(t, proxies.client(t, "front-proxy-client"), http.MethodGet, list, headers["user and group"], "")
	if code != http.StatusOK {
		t.Errorf("the front proxy itself: %d %s", code, text)
	}
}

// Complaint 6: a new authority of the front proxy is believed without a restart, and one that is taken away no longer.
func TestANewFrontProxyAuthorityIsBelieved(t *testing.T) {
	r := serve(t, "server", lease()...)
	next := newAuthority(t, "next-front-proxy-ca")
	client := next.client(t, "front-proxy-client")
	list := fmt.Sprintf("https://127.0.0.1:%d/apis/elasticweb.example.com/v1/elasticwebs", r.port)
	admin := map[string]string{"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
	if code, _ := ask(t, client, http.MethodGet, list, admin, ""); code != http.StatusUnauthorized {
		t.Fatalf("before it is known: %d", code)
	}
	change := func(change func(bundle string) string) {
		t.Helper()
		configMaps := plane.Kube.CoreV1().ConfigMaps("kube-system")
		published, err := configMaps.Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		published.Data["requestheader-client-ca-file"] = change(published.Data["requestheader-client-ca-file"])
		if _, err := configMaps.Update(t.Context(), published, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pem, err := certutil.EncodeCertificates(next.cert)
	if err != nil {
		t.Fatal(err)
	}
	old := ""
	change(func(bundle string) string { old = bundle; return bundle + string(pem) })
	begin := time.Now()
	cluster.Eventually(t, "the new authority to be believed", func(context.Context) (bool, string) {
		code, text := ask(t, client, http.MethodGet, list, admin, "")
		return code == http.StatusOK, fmt.Sprint(code, text)
	})
	t.Logf("believed after %v", time.Since(begin).Round(time.Millisecond))
	aggregated(t)
	change(func(string) string { return old })
	cluster.Eventually(t, "the authority to be forgotten", func(context.Context) (bool, string) {
		code, text := ask(t, client, http.MethodGet, list, admin, "")
		return code == http.StatusUnauthorized, fmt.Sprint(code, text)
	})
	aggregated(t)
}

// Without the right there is a 403, for each verb on each resource, and with the right to all but one there is it for that one.
func TestEachVerbNeedsItsRight(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server", lease()...)
	create(t, r.web, web(ns, "web"))
	users := planeAuthority(t, "ca")
	type operation struct{ verb, resource, method, path, contentType, body string }
	var operations []operation
	object := `{"apiVersion":"elasticweb.example.com/v1","kind":"ElasticWeb","metadata":{"name":"%s"},"spec":{"image":"nginx","singlePodsQPS":1}}`
	scale := `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"web"},"spec":{"replicas":1}}`
	patch := "application/merge-patch+json"
	for _, sub := range []string{"", "/status", "/scale"} {
		body := fmt.Sprintf(object, "web")
		if sub == "/scale" {
			body = scale
		}
		operations = append(operations,
			operation{"get", "elasticwebs" + sub, "GET", "/web" + sub, "", ""},
			operation{"update", "elasticwebs" + sub, "PUT", "/web" + sub, "application/json", body},
			operation{"patch", "elasticwebs" + sub, "PATCH", "/web" + sub, patch, "{}"},
		)
	}
	operations = append(operations,
		operation{"list", "elasticwebs", "GET", "", "", ""},
		operation{"watch", "elasticwebs", "GET", "?watch=true&timeoutSeconds=1", "", ""},
		operation{"create", "elasticwebs", "POST", "", "application/json", fmt.Sprintf(object, "new")},
		operation{"delete", "elasticwebs", "DELETE", "/web?dryRun=All", "", ""},
		operation{"deletecollection", "elasticwebs", "DELETE", "?dryRun=All", "", ""},
	)
	base := fmt.Sprintf("https://127.0.0.1:%d/apis/elasticweb.example.com/v1/namespaces/%s/elasticwebs", r.port, ns)
	for i, missing := range operations {
		name := fmt.Sprintf("user%d", i)
		grant(t, ns, name, func(yield func(verb, resource string)) {
			for _, o := range operations {
				if o != missing {
					yield(o.verb, o.resource)
				}
			}
		})
		client := users.client(t, name)
		code, text := ask(t, client, missing.method, base+missing.path, map[string]string{"Content-Type": missing.contentType}, missing.body)
		if code != http.StatusForbidden {
			t.Errorf("%s %s without the right: %d %s", missing.verb, missing.resource, code, text)
		}
		// And it is that right which was missing.
		allowed := operations[(i+1)%len(operations)]
		if allowed.verb == "create" || allowed.verb == "update" {
			allowed = operations[(i+3)%len(operations)]
		}
		if code, text := ask(t, client, allowed.method, base+allowed.path, map[string]string{"Content-Type": allowed.contentType}, allowed.body); code == http.StatusForbidden || code == http.StatusUnauthorized {
			t.Errorf("%s %s with the right: %d %s", allowed.verb, allowed.resource, code, text)
		}
	}
	nobody := users.client(t, "nobody")
	for _, path := range []string{"/metrics", "/debug/pprof/", "/logs", "/configz"} {
		code, _ := ask(t, nobody, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d%s", r.port, path), nil, "")
		if code != http.StatusForbidden {
			t.Errorf("%s without a right: %d", path, code)
		}
	}
	anonymous := (*authority)(nil).client(t, "")
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/healthz": 200, "/readyz/etcd": 401, "/apis": 401, "/version": 401, "/metrics": 401, "/openapi/v2": 401, "/": 401,
		"/livez/../apis": 401, "//livez": 401,
	} {
		if code, text := ask(t, anonymous, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d%s", r.port, path), nil, ""); code != want {
			t.Errorf("anonymous %s: %d, want %d: %s", path, code, want, text)
		}
	}
	if code, _, err := r.get(t.Context(), "/debug/pprof/"); err != nil || code != http.StatusNotFound {
		t.Errorf("profiling is on: %d %v", code, err)
	}
}

// grant gives a user rights in a namespace, and waits until the cluster knows of them.
func grant(t testing.TB, ns, name string, rights func(func(verb, resource string))) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	rights(func(verb, resource string) {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{"elasticweb.example.com"}, Resources: []string{resource}, Verbs: []string{verb}})
	})
	if _, err := plane.Kube.RbacV1().Roles(ns).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
	}
	if _, err := plane.Kube.RbacV1().RoleBindings(ns).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	resource, sub, _ := strings.Cut(role.Rules[0].Resources[0], "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: name, ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: ns, Verb: role.Rules[0].Verbs[0], Group: "elasticweb.example.com", Resource: resource, Subresource: sub,
	}}}
	cluster.Eventually(t, "the rights of "+name, func(ctx context.Context) (bool, string) {
		reviewed, err := plane.Kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err == nil && reviewed.Status.Allowed, fmt.Sprint(err)
	})
}

// A right that was taken away ends with the answer that is kept of it.
func TestARevokedRightEnds(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server", append(lease(), "--authorization-webhook-cache-authorized-ttl=1s")...)
	create(t, r.web, web(ns, "web"))
	grant(t, ns, "reader", func(yield func(verb, resource string)) { yield("get", "elasticwebs") })
	url := fmt.Sprintf("https://127.0.0.1:%d/apis/elasticweb.example.com/v1/namespaces/%s/elasticwebs/web", r.port, ns)
	reader := planeAuthority(t, "ca").client(t, "reader")
	if code, text := ask(t, reader, http.MethodGet, url, nil, ""); code != http.StatusOK {
		t.Fatalf("with the right: %d %s", code, text)
	}
	if err := plane.Kube.RbacV1().RoleBindings(ns).Delete(t.Context(), "reader", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "the right to end", func(context.Context) (bool, string) {
		code, text := ask(t, reader, http.MethodGet, url, nil, "")
		return code == http.StatusForbidden, fmt.Sprint(code, text)
	})
}

// While nobody can be asked who may what, nobody may.
func TestWithoutReviewsNobodyMay(t *testing.T) {
	ns := plane.Namespace(t)
	r := serve(t, "server", lease()...)
	w := create(t, r.web, web(ns, "web"))
	grant(t, ns, "reader", func(yield func(verb, resource string)) { yield("get", "elasticwebs") })
	url := fmt.Sprintf("https://127.0.0.1:%d/apis/elasticweb.example.com/v1/namespaces/%s/elasticwebs/%s", r.port, ns, w.Name)
	reader := planeAuthority(t, "ca").client(t, "reader")
	if code, text := ask(t, reader, http.MethodGet, url, nil, ""); code != http.StatusOK {
		t.Fatalf("before: %d %s", code, text)
	}
	token, err := plane.Kube.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.host.cut()
	defer r.host.mend()
	// Each waits out the time of a review.
	var asking sync.WaitGroup
	asking.Go(func() {
		// One whose answer is in no cache.
		if code, text := ask(t, reader, http.MethodGet, strings.TrimSuffix(url, w.Name)+"other", nil, ""); code == http.StatusOK || code == http.StatusNotFound {
			t.Errorf("with the host away: %d %s", code, text)
		}
	})
	nobody := (*authority)(nil).client(t, "")
	asking.Go(func() {
		bearer := map[string]string{"Authorization": "Bearer " + token.Status.Token}
		if code, text := ask(t, nobody, http.MethodGet, url, bearer, ""); code == http.StatusOK {
			t.Errorf("a token that nobody could review: %d %s", code, text)
		}
	})
	asking.Wait()
	if code, text, err := r.get(t.Context(), "/livez"); err != nil || code != http.StatusOK {
		t.Errorf("/livez with the host away: %d %v %s", code, err, text)
	}
	r.host.mend()
	cluster.Eventually(t, "the reader to be let in again", func(context.Context) (bool, string) {
		code, text := ask(t, reader, http.MethodGet, url, nil, "")
		return code == http.StatusOK, fmt.Sprint(code, text)
	})
}

// TLS 1.2 is the least, with suites that keep what was said secret even if the key is lost.
func TestOnlyStrongTLS(t *testing.T) {
	r := serve(t, "server", lease()...)
	try := func(config *tls.Config) error {
		config.InsecureSkipVerify = true
		connection, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port), config)
		if err == nil {
			_ = connection.Close()
		}
		return err
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if try(&tls.Config{MinVersion: version, MaxVersion: version}) == nil {
			t.Errorf("%s is spoken", tls.VersionName(version))
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if err := try(&tls.Config{MinVersion: version, MaxVersion: version}); err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if suite.SupportedVersions[0] == tls.VersionTLS13 {
			continue
		}
		want := strings.HasPrefix(suite.Name, "TLS_ECDHE_") && (strings.Contains(suite.Name, "_GCM_") || strings.Contains(suite.Name, "CHACHA20"))
		err := try(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
		if (err == nil) != want {
			t.Errorf("%s: %v", suite.Name, err)
		}
	}
}
