package servingcert

import (
	"crypto/x509"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	certutil "k8s.io/client-go/util/cert"
)

var rules = Rules{Service: "web", Namespace: "system", Lifetime: 30 * time.Hour, CALifetime: 300 * time.Hour}

// begin has no part of a second, as certificates have none.
var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// verifies says whether the certificate of the Secret is good for a client that has the bundle.
func verifies(t *testing.T, data map[string][]byte, bundle []byte, now time.Time) bool {
	t.Helper()
	certs, err := certutil.ParseCertsPEM(data[corev1.TLSCertKey])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err = certs[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: "web.system.svc", CurrentTime: now})
	return err == nil
}

func authorities(t *testing.T, data map[string][]byte) int {
	t.Helper()
	certs, err := certutil.ParseCertsPEM(data[bundleKey])
	if err != nil {
		t.Fatal(err)
	}
	return len(certs)
}

// step lets the time come, and returns what the Secret holds then.
func step(t *testing.T, data map[string][]byte, now time.Time, replaceCA bool) (_ map[string][]byte, did string, due time.Time) {
	t.Helper()
	m := parse(data)
	did, due, err := m.renew(rules, now, replaceCA)
	if err != nil {
		t.Fatal(err)
	}
	data, err = m.encode()
	if err != nil {
		t.Fatal(err)
	}
	return data, did, due
}

// A client that learns of a bundle only when the next thing is due is never met by a certificate that it cannot verify.
func TestNoStepIsAheadOfItsClients(t *testing.T) {
	data, did, due := step(t, nil, begin, false)
	if did == "" {
		t.Fatal("nothing was made")
	}
	seen := map[string]int{}
	for now := begin; now.Before(begin.Add(4 * rules.CALifetime)); {
		bundle := data[bundleKey]
		if !due.After(now) {
			t.Fatalf("at %v something is due at %v: it would be done for ever", now, due)
		}
		now = due
		if !verifies(t, data, bundle, now.Add(-time.Second)) {
			t.Fatalf("at %v the certificate in use is no longer good", now)
		}
		if data, did, due = step(t, data, now, false); did == "" {
			t.Fatalf("nothing was done at %v, when it was due", now)
		}
		seen[did]++
		if !verifies(t, data, bundle, now) {
			t.Fatalf("at %v, %s: who has the bundle of before cannot verify the certificate", now, did)
		}
		if n := authorities(t, data); n > 3 {
			t.Fatalf("%d authorities in the bundle", n)
		}
	}
	for _, did := range []string{"made a serving certificate", "a new certificate authority has joined the bundle", "the new certificate authority signs"} {
		if seen[did] < 3 {
			t.Errorf("%q: %d times", did, seen[did])
		}
	}
}

func TestANewAuthoritySignsAfterAMinute(t *testing.T) {
	data, _, _ := step(t, nil, begin, false)
	data, did, due := step(t, data, begin.Add(time.Hour), true)
	if did != "a new certificate authority has joined the bundle" || !due.Equal(begin.Add(time.Hour+time.Minute)) {
		t.Fatalf("did %q, due %v", did, due)
	}
	leaf := string(data[corev1.TLSCertKey])
	data, did, _ = step(t, data, due.Add(-time.Second), true)
	if did != "" || string(data[corev1.TLSCertKey]) != leaf {
		t.Fatalf("before the minute is over: %q", did)
	}
	data, did, _ = step(t, data, due, false)
	if did != "the new certificate authority signs" || string(data[corev1.TLSCertKey]) == leaf {
		t.Fatalf("after the minute: %q", did)
	}
	// The old one stays until its last certificate, of the first hour, has expired.
	data, _, _ = step(t, data, begin.Add(rules.Lifetime-time.Second), false)
	if n := authorities(t, data); n != 2 {
		t.Errorf("%d authorities in the bundle before the old one's last certificate has expired, want 2", n)
	}
	data, _, _ = step(t, data, begin.Add(rules.Lifetime), false)
	if n := authorities(t, data); n != 1 {
		t.Errorf("%d authorities in the bundle after that, want 1", n)
	}
}

func TestWhatIsDamagedIsMadeAnew(t *testing.T) {
	whole, _, _ := step(t, nil, begin, false)
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, signingCert, signingKey} {
		damaged := map[string][]byte{}
		for k, v := range whole {
			damaged[k] = v
		}
		damaged[key] = []byte("damaged")
		mended, did, _ := step(t, damaged, begin.Add(time.Hour), false)
		if did == "" || !verifies(t, mended, mended[bundleKey], begin.Add(time.Hour)) {
			t.Errorf("%s was damaged: %q", key, did)
		}
	}
	if _, did, _ := step(t, whole, begin.Add(time.Hour), false); did != "" {
		t.Errorf("nothing was damaged: %q", did)
	}
}

func TestACertificateForAnotherServiceIsReplaced(t *testing.T) {
	data, _, _ := step(t, nil, begin, false)
	m := parse(data)
	other := rules
	other.Service = "other"
	if did, _, err := m.renew(other, begin, false); err != nil || did != "made a serving certificate" {
		t.Errorf("%q, %v", did, err)
	}
}
