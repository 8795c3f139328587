package fault

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"elasticweb.example.com/test/cluster"
)

// issue returns a certificate for the names, with its key, in PEM.
func (a *authority) issue(t testing.TB, names ...string) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if certPEM, err = certutil.EncodeCertificates(cert); err != nil {
		t.Fatal(err)
	}
	if keyPEM, err = keyutil.MarshalPrivateKeyToPEM(key); err != nil {
		t.Fatal(err)
	}
	return certPEM, keyPEM
}

func (a *authority) pem(t testing.TB) []byte {
	t.Helper()
	pem, err := certutil.EncodeCertificates(a.cert)
	if err != nil {
		t.Fatal(err)
	}
	return pem
}

// An etcd of three members with mutual TLS, by flags alone; one of them dies, and writes go on.
func TestAnExternalEtcdOfThreeWithTLS(t *testing.T) {
	installAfresh(t)
	ns := plane.Namespace(t)
	dir := t.TempDir()
	ca := newAuthority(t, "etcd-ca")
	write := func(name string, content []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cert, key := ca.issue(t, "localhost")
	caFile, certFile, keyFile := write("ca.crt", ca.pem(t)), write("etcd.crt", cert), write("etcd.key", key)
	binary, err := filepath.Abs(filepath.Join(cluster.Root, "bin", "localcluster"))
	if err != nil {
		t.Fatal(err)
	}
	var endpoints, peers, initial []string
	for i := range 3 {
		endpoints = append(endpoints, fmt.Sprintf("https://127.0.0.1:%d", freePort(t)))
		peers = append(peers, fmt.Sprintf("http://127.0.0.1:%d", freePort(t)))
		initial = append(initial, fmt.Sprintf("m%d=%s", i, peers[i]))
	}
	var members []*exec.Cmd
	for i := range 3 {
		member := exec.Command(binary, "etcd", fmt.Sprintf("--name=m%d", i), fmt.Sprintf("--data-dir=%s/m%d", dir, i),
			"--listen-client-urls="+endpoints[i], "--advertise-client-urls="+endpoints[i],
			"--listen-peer-urls="+peers[i], "--initial-advertise-peer-urls="+peers[i], "--initial-cluster="+strings.Join(initial, ","),
			"--client-cert-auth", "--trusted-ca-file="+caFile, "--cert-file="+certFile, "--key-file="+keyFile, "--log-level=error")
		member.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := member.Start(); err != nil {
			t.Fatal(err)
		}
		members = append(members, member)
		t.Cleanup(func() {
			_ = member.Process.Kill()
			_ = member.Wait()
		})
	}
	r := serve(t, "secure", append(lease(), "--etcd-servers="+strings.Join(endpoints, ","), "--etcd-cafile="+caFile, "--etcd-certfile="+certFile, "--etcd-keyfile="+keyFile)...)
	w := create(t, r.web, web(ns, "web"))
	ready(t, r.web, w, 1)
	expiresWith(t, r, cert)
	_ = members[0].Process.Kill()
	begin := time.Now()
	for _, total := range []int32{200, 300} {
		cluster.Eventually(t, "a write with a member gone", func(ctx context.Context) (bool, string) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			err := tryDemand(ctx, r.web, w, total)
			return err == nil, fmt.Sprint(err)
		})
	}
	t.Logf("two writes %v after a member was killed", time.Since(begin).Round(time.Millisecond))
	ready(t, r.web, w, 3)
	if _, err := r.web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), "never", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a 404, with a member gone: %v", err)
	}
}

// expiresWith compares what an alert is made of with the certificate for etcd.
func expiresWith(t testing.TB, r *replica, certificate []byte) {
	t.Helper()
	parsed, err := certutil.ParseCertsPEM(certificate)
	if err != nil {
		t.Fatal(err)
	}
	_, metrics, err := r.get(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(metrics, "\nelasticweb_etcd_client_certificate_expiration_timestamp_seconds ")
	value, _, _ := strings.Cut(rest, "\n")
	if served, err := strconv.ParseFloat(value, 64); err != nil || int64(served) != parsed[0].NotAfter.Unix() {
		t.Errorf("the certificate for etcd expires at %q, want %d", value, parsed[0].NotAfter.Unix())
	}
}

// A Secret that somebody else keeps, as cert-manager does, is followed and never written; its authority is published.
func TestAnExternalCertificateIsFollowed(t *testing.T) {
	installAfresh(t)
	ca := newAuthority(t, "somebody-elses-ca")
	secrets := plane.Kube.CoreV1().Secrets("elasticweb-system")
	cert, key := ca.issue(t, "elasticweb-apiserver.elasticweb-system.svc")
	kept, err := secrets.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "elasticweb-apiserver-serving-cert"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": ca.pem(t)},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, "external", append(lease(), "--serving-cert-secret-external")...)
	cluster.Eventually(t, "the authority to be published", func(ctx context.Context) (bool, string) {
		bundle, _, err := registered(ctx)
		return err == nil && bytes.Equal(bundle, ca.pem(t)), fmt.Sprint(err)
	})
	first, err := handshake(r.port, ca.pem(t))
	if err != nil {
		t.Fatal(err)
	}
	kept.Data["tls.crt"], kept.Data["tls.key"] = ca.issue(t, "elasticweb-apiserver.elasticweb-system.svc")
	if kept, err = secrets.Update(t.Context(), kept, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "the renewed certificate to be served", func(context.Context) (bool, string) {
		now, err := handshake(r.port, ca.pem(t))
		return err == nil && now.SerialNumber.Cmp(first.SerialNumber) != 0, fmt.Sprint(err)
	})
	aggregated(t)
	if after, err := secrets.Get(t.Context(), kept.Name, metav1.GetOptions{}); err != nil || after.ResourceVersion != kept.ResourceVersion {
		t.Errorf("the Secret was written: %v", err)
	}
}
