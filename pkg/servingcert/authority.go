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
	"math/big"
	"net"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// clockSkew is how far the clock of a peer may be behind ours.
const clockSkew = 5 * time.Minute

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// made is when the pair was made.
func (p *pair) made() time.Time { return p.cert.NotBefore.Add(clockSkew) }

// lifetime is how long the pair was made for.
func (p *pair) lifetime() time.Duration { return p.cert.NotAfter.Sub(p.made()) }

func (p *pair) encode() (certPEM, keyPEM []byte, err error) {
	if certPEM, err = certutil.EncodeCertificates(p.cert); err != nil {
		return nil, nil, err
	}
	keyPEM, err = keyutil.MarshalPrivateKeyToPEM(p.key)
	return certPEM, keyPEM, err
}

func parsePair(certPEM, keyPEM []byte) (*pair, error) {
	certs, err := certutil.ParseCertsPEM(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	if public, ok := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(signer.Public()) {
		return nil, errors.New("the key is another certificate's")
	}
	return &pair{cert: certs[0], key: signer}, nil
}

// newAuthority makes a certificate authority.
func newAuthority(now time.Time, lifetime time.Duration) (*pair, error) {
	template := &x509.Certificate{
		// The time tells the authorities of an installation apart, for who reads a bundle.
		Subject:               pkix.Name{CommonName: fmt.Sprintf("elasticweb-apiserver-ca@%d", now.Unix())},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	return sign(template, nil, now, now.Add(lifetime))
}

// newLeaf makes a serving certificate for the Service and for loopback addresses. It does not outlive the authority.
func newLeaf(authority *pair, service, namespace string, now time.Time, lifetime time.Duration) (*pair, error) {
	until := now.Add(lifetime)
	if until.After(authority.cert.NotAfter) {
		until = authority.cert.NotAfter
	}
	names := hostNames(service, namespace)
	return sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		DNSNames:    names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority, now, until)
}

// hostNames are the names of the server. The first is the one that the aggregation layer asks for.
func hostNames(service, namespace string) []string {
	host := service + "." + namespace + ".svc"
	return []string{host, host + ".cluster.local", service + "." + namespace, service, "localhost"}
}

// sign makes a key and a certificate for it, signed by the authority, or by itself if that is nil.
func sign(template *x509.Certificate, authority *pair, now, until time.Time) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	template.NotBefore, template.NotAfter = now.Add(-clockSkew), until
	parent, signer := template, crypto.Signer(key)
	if authority != nil {
		parent, signer = authority.cert, authority.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &pair{cert: cert, key: key}, nil
}
