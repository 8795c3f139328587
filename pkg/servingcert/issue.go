package servingcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	leafLifetime = 365 * 24 * time.Hour
	// clockSkew is how far the clock of a peer may be behind ours.
	clockSkew = 5 * time.Minute
)

// Pair is a serving certificate with its key, and the bundle of authorities that verifies it, all in PEM.
type Pair struct {
	Cert, Key, CABundle []byte
}

// Issue makes a serving certificate for the service and for loopback addresses. It is signed by the certificate authority
// in dir, which is made if dir has none: files ca.crt and ca.key, the key readable by its owner only.
func Issue(dir, service, namespace string, now time.Time) (*Pair, error) {
	ca, caKey, err := loadOrCreateCA(dir)
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	host := service + "." + namespace + ".svc"
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host, host + ".cluster.local", service + "." + namespace, service, "localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(leafLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, err
	}
	certPEM, err := certutil.EncodeCertificates(leaf)
	if err != nil {
		return nil, err
	}
	caPEM, err := certutil.EncodeCertificates(ca)
	if err != nil {
		return nil, err
	}
	expiration.WithLabelValues().Set(float64(leaf.NotAfter.Unix()))
	return &Pair{Cert: certPEM, Key: keyPEM, CABundle: caPEM}, nil
}

func loadOrCreateCA(dir string) (*x509.Certificate, crypto.Signer, error) {
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	certs, err := certutil.CertsFromFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return createCA(certFile, keyFile)
	}
	if err != nil {
		return nil, nil, err
	}
	key, err := keyutil.PrivateKeyFromFile(keyFile)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("%s: %T cannot sign", keyFile, key)
	}
	return certs[0], signer, nil
}

func createCA(certFile, keyFile string) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	cert, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "elasticweb-apiserver-ca"}, key)
	if err != nil {
		return nil, nil, err
	}
	certPEM, err := certutil.EncodeCertificates(cert)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(filepath.Dir(keyFile), 0o700); err != nil {
		return nil, nil, err
	}
	// The key first: a certificate without a key could not be used and would not be made again.
	if err := keyutil.WriteKey(keyFile, keyPEM); err != nil {
		return nil, nil, err
	}
	return cert, key, certutil.WriteCert(certFile, certPEM)
}
