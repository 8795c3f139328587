package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"

	clientv3 "go.etcd.io/etcd/client/v3"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/apiserver"
	"elasticweb.example.com/pkg/generated/clientset/versioned"
	clientset "elasticweb.example.com/pkg/generated/clientset/versioned/typed/elasticweb/v1"
	"elasticweb.example.com/pkg/options"
	"elasticweb.example.com/pkg/storage/embedded"
)

// server is the one server that all tests share, each in a namespace of its own.
var server struct {
	config *rest.Config
	http   *http.Client
	web    clientset.ElasticwebV1Interface
	etcd   *clientv3.Client
	// storage is where the objects are.
	storage generic.RESTOptionsGetter
}

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "ew")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	var last lastRequest
	defer func() {
		cancel()
		err = errors.Join(err, <-stopped, last.err)
	}()

	etcd, err := embedded.Start(ctx, embedded.Config{Dir: dir + "/etcd"})
	if err != nil {
		stopped <- nil
		return 0, err
	}
	config, err := newConfig(etcd.Endpoint())
	if err != nil {
		stopped <- nil
		return 0, err
	}
	server.storage = config.Generic.RESTOptionsGetter
	config.Extra.Companions = map[string]apiserver.Companion{"last-request": &last}
	api, err := config.Complete().New()
	if err != nil {
		stopped <- nil
		return 0, err
	}
	go func() {
		err := api.PrepareRun().RunWithContext(ctx)
		etcd.Close()
		stopped <- err
	}()

	server.config = api.LoopbackClientConfig
	last.config = server.config
	if server.http, err = rest.HTTPClientFor(server.config); err != nil {
		return 0, err
	}
	own, err := versioned.NewForConfig(server.config)
	if err != nil {
		return 0, err
	}
	server.web = own.ElasticwebV1()
	if server.etcd, err = clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}}); err != nil {
		return 0, err
	}
	defer func() { _ = server.etcd.Close() }()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if own.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil {
			break
		}
		if time.Since(begin) > time.Minute {
			return 0, fmt.Errorf("the server is not ready after a minute")
		}
	}
	return m.Run(), nil
}

// lastRequest runs beside the server. On the way down it is waited for, and its last request still finds the server: or all
// tests fail in the end.
type lastRequest struct {
	config *rest.Config
	err    error
}

func (l *lastRequest) Run(ctx context.Context) {
	<-ctx.Done()
	own, err := versioned.NewForConfig(l.config)
	if err == nil {
		_, err = own.ElasticwebV1().ElasticWebs("last-request").List(context.Background(), metav1.ListOptions{})
	}
	if err != nil {
		l.err = fmt.Errorf("the last request of a companion: %w", err)
	}
}

// newConfig is the production configuration, but for who may (everybody here) and admission (there is no host to ask).
func newConfig(endpoint string) (*apiserver.Config, error) {
	o := options.New()
	o.Etcd.StorageConfig.Transport.ServerList = []string{endpoint}
	// No list of endpoints has to learn of the stop.
	o.ServerRun.ShutdownDelayDuration = 0
	config := apiserver.NewGenericConfig()
	if err := o.ServerRun.ApplyTo(&config.Config); err != nil {
		return nil, err
	}
	cert, key, err := certutil.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		return nil, err
	}
	serving := o.Recommended.SecureServing
	if serving.ServerCert.GeneratedCert, err = dynamiccertificates.NewStaticCertKeyContent("serving-cert", cert, key); err != nil {
		return nil, err
	}
	if serving.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if err := serving.ApplyToConfig(&config.Config); err != nil {
		return nil, err
	}
	config.Authentication.Authenticator = anonymous.NewAuthenticator(nil)
	config.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	if err := o.ApplyStorage(&config.Config); err != nil {
		return nil, err
	}
	return &apiserver.Config{Generic: config, Extra: apiserver.ExtraConfig{NodePorts: o.NodePorts}}, nil
}

// sample is the ElasticWeb of the README.
func sample(name string) *v1.ElasticWeb {
	return &v1.ElasticWeb{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.ElasticWebSpec{
			Image: "nginx:1.17.1", Port: ptr.To[int32](30003), SinglePodsQPS: ptr.To[int32](800), TotalQPS: ptr.To[int32](2400),
		},
	}
}

// namespace is one that no other test uses.
func namespace(t *testing.T) string {
	return strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
}

func create(t *testing.T, web *v1.ElasticWeb) *v1.ElasticWeb {
	t.Helper()
	created, err := server.web.ElasticWebs(namespace(t)).Create(t.Context(), web, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create %s: %v", web.Name, err)
	}
	return created
}

// request sends a request as it is, and returns the status code and the body of the answer.
func request(t *testing.T, method, path, contentType, accept string, body []byte) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.config.Host+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Set("Accept", accept)
	response, err := server.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

func get[T any](t *testing.T, path, accept string) T {
	t.Helper()
	code, body := request(t, http.MethodGet, path, "", accept, nil)
	if code != http.StatusOK {
		t.Fatalf("GET %s: %d: %s", path, code, body)
	}
	var value T
	if err := json.Unmarshal(body, &value); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return value
}

func collection(namespace string) string {
	return "/apis/elasticweb.example.com/v1/namespaces/" + namespace + "/elasticwebs"
}
