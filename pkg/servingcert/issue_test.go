package servingcert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func issue(t *testing.T, dir string) (*Pair, *x509.Certificate) {
	t.Helper()
	pair, err := Issue(dir, "elasticweb-apiserver", "elasticweb-system", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatalf("certificate and key do not fit: %v", err)
	}
	return pair, certificate.Leaf
}

func TestTheBundleVerifiesTheCertificate(t *testing.T) {
	pair, leaf := issue(t, t.TempDir())
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pair.CABundle) {
		t.Fatal("the bundle holds no certificate")
	}
	// The first is the name that the aggregation layer checks.
	for _, name := range []string{"elasticweb-apiserver.elasticweb-system.svc", "localhost", "127.0.0.1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "kubernetes.default.svc"}); err == nil {
		t.Error("the certificate is good for another Service")
	}
}

func TestTheAuthorityOutlivesARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	first, _ := issue(t, dir)
	second, _ := issue(t, dir)
	if !bytes.Equal(first.CABundle, second.CABundle) {
		t.Error("a restart made another authority: the APIService would not trust the server until it is written anew")
	}
	if bytes.Equal(first.Cert, second.Cert) {
		t.Error("a restart did not make another leaf")
	}
}

func TestKeysAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	issue(t, dir)
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("ca.key has mode %o, want 600", mode)
	}
}

func TestADamagedAuthorityIsReportedNotReplaced(t *testing.T) {
	dir := t.TempDir()
	issue(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Issue(dir, "s", "n", time.Now()); err == nil {
		t.Error("no error: replaced silently, an authority that others trust would be gone")
	}
}
