package servingcert

import (
	"crypto/x509"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	certutil "k8s.io/client-go/util/cert"
)

// Keys of the Secret besides those of a TLS Secret. ca.crt is the bundle that verifies the certificate, as cert-manager has it.
const (
	bundleKey     = "ca.crt"
	signingCert   = "signing-ca.crt"
	signingKey    = "signing-ca.key"
	nextCert      = "next-ca.crt"
	nextKey       = "next-ca.key"
	retiredBundle = "retired.crt"
)

// Rules say for how long certificates are made.
type Rules struct {
	// Service and Namespace are those of the Service in front of the server.
	Service, Namespace string
	// Lifetime is that of a serving certificate. It is renewed when a third of it is left.
	Lifetime time.Duration
	// CALifetime is that of a certificate authority, several Lifetimes. It is replaced when two Lifetimes of it are left.
	CALifetime time.Duration
}

// overlap is how long a new authority is only in the bundle before it signs: time for all who verify to learn of it. A minute,
// or less if certificates live for minutes.
func (r Rules) overlap() time.Duration { return min(time.Minute, r.Lifetime/10) }

// material is all that the Secret holds.
type material struct {
	// signing has signed leaf, and signs the next one.
	signing, leaf *pair
	// next is in the bundle, and does not sign yet. Nil most of the time.
	next *pair
	// retired authorities no longer sign. Each stays in the bundle until the last that it has signed has expired.
	retired []retirement
}

type retirement struct{ leaf, authority *x509.Certificate }

// parse reads what it can. What is missing or damaged is made anew by renew.
func parse(data map[string][]byte) *material {
	m := &material{}
	m.signing, _ = parsePair(data[signingCert], data[signingKey])
	m.next, _ = parsePair(data[nextCert], data[nextKey])
	m.leaf, _ = parsePair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	retired, _ := certutil.ParseCertsPEM(data[retiredBundle])
	for ; len(retired) >= 2; retired = retired[2:] {
		m.retired = append(m.retired, retirement{leaf: retired[0], authority: retired[1]})
	}
	return m
}

// encode is the opposite of parse.
func (m *material) encode() (map[string][]byte, error) {
	data := map[string][]byte{}
	for _, part := range []struct {
		pair      *pair
		cert, key string
	}{{m.leaf, corev1.TLSCertKey, corev1.TLSPrivateKeyKey}, {m.signing, signingCert, signingKey}, {m.next, nextCert, nextKey}} {
		if part.pair == nil {
			continue
		}
		var err error
		if data[part.cert], data[part.key], err = part.pair.encode(); err != nil {
			return nil, err
		}
	}
	bundle := []*x509.Certificate{m.signing.cert}
	if m.next != nil {
		bundle = append(bundle, m.next.cert)
	}
	var retired []*x509.Certificate
	for _, r := range m.retired {
		bundle = append(bundle, r.authority)
		retired = append(retired, r.leaf, r.authority)
	}
	var err error
	if data[bundleKey], err = certutil.EncodeCertificates(bundle...); err != nil {
		return nil, err
	}
	if len(retired) > 0 {
		data[retiredBundle], err = certutil.EncodeCertificates(retired...)
	}
	return data, err
}

// renew does what is due, and says in words what that was; empty: nothing. due is when something will be. replaceCA asks for a
// new authority before its time.
func (m *material) renew(rules Rules, now time.Time, replaceCA bool) (did string, due time.Time, err error) {
	if m.signing == nil || !now.Before(m.signing.cert.NotAfter) {
		// Nothing that anybody trusts is left: there is nothing to overlap with.
		if m.signing, err = newAuthority(now, rules.CALifetime); err != nil {
			return "", due, fmt.Errorf("make a certificate authority: %w", err)
		}
		m.next, did = nil, "made a certificate authority"
	}
	endOfSigning := m.signing.cert.NotAfter.Add(-2 * rules.Lifetime)
	if m.next == nil && (replaceCA || !now.Before(endOfSigning)) {
		if m.next, err = newAuthority(now, rules.CALifetime); err != nil {
			return "", due, fmt.Errorf("make a certificate authority: %w", err)
		}
		did = "a new certificate authority has joined the bundle"
	}
	if m.next != nil && !now.Before(m.next.made().Add(rules.overlap())) {
		if m.leaf != nil {
			m.retired = append(m.retired, retirement{leaf: m.leaf.cert, authority: m.signing.cert})
		}
		m.signing, m.next, did = m.next, nil, "the new certificate authority signs"
	}
	if !m.usable(rules, now) || !now.Before(renewAt(m.leaf)) {
		if m.leaf, err = newLeaf(m.signing, rules.Service, rules.Namespace, now, rules.Lifetime); err != nil {
			return "", due, fmt.Errorf("make a serving certificate: %w", err)
		}
		if did == "" {
			did = "made a serving certificate"
		}
	}
	var kept []retirement
	for _, r := range m.retired {
		if now.Before(r.leaf.NotAfter) {
			kept = append(kept, r)
		} else {
			did = "a certificate authority whose last certificate has expired has left the bundle"
		}
	}
	m.retired = kept
	return did, m.due(rules), nil
}

// due is when renew will next have something to do.
func (m *material) due(rules Rules) time.Time {
	due := renewAt(m.leaf)
	if m.next != nil {
		due = earlier(due, m.next.made().Add(rules.overlap()))
	} else {
		due = earlier(due, m.signing.cert.NotAfter.Add(-2*rules.Lifetime))
	}
	for _, r := range m.retired {
		due = earlier(due, r.leaf.NotAfter)
	}
	return due
}

// usable: the serving certificate is signed by the signing authority, for the names of this server.
func (m *material) usable(rules Rules, now time.Time) bool {
	if m.leaf == nil {
		return false
	}
	roots := x509.NewCertPool()
	roots.AddCert(m.signing.cert)
	for _, name := range hostNames(rules.Service, rules.Namespace) {
		if _, err := m.leaf.cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			return false
		}
	}
	return true
}

// renewAt is when a third of the lifetime is left.
func renewAt(leaf *pair) time.Time { return leaf.cert.NotAfter.Add(-leaf.lifetime() / 3) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
