package servingcert

import (
	"bytes"
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const secretName = "serving-cert"

func secret(t *testing.T, client *fake.Clientset) *corev1.Secret {
	t.Helper()
	found, err := client.CoreV1().Secrets("system").Get(t.Context(), secretName, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return found
}

// run keeps the Secret, and follows it as a replica does.
func run(t *testing.T) (*fake.Clientset, *Certificate) {
	t.Helper()
	client := fake.NewClientset()
	keeper := NewKeeper(client, "system", secretName, rules)
	made, _, err := keeper.Keep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	certificate := New("system", secretName)
	if err := certificate.Load(made); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	go func() { keeper.Run(ctx); done <- struct{}{} }()
	go func() { certificate.Follow(ctx, client); done <- struct{}{} }()
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
	return client, certificate
}

func TestTwoKeepersAgree(t *testing.T) {
	client := fake.NewClientset()
	first, _, err := NewKeeper(client, "system", secretName, rules).Keep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := NewKeeper(client, "system", secretName, rules).Keep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Data[corev1.TLSCertKey], second.Data[corev1.TLSCertKey]) {
		t.Error("the second keeper has made another certificate")
	}
}

// Who deletes the Secret asks for a new authority, and nobody is cut off by that.
func TestADeletedSecretBringsANewAuthority(t *testing.T) {
	client, certificate := run(t)
	before := certificate.CABundle()
	cert, _ := certificate.CurrentCertKeyContent()
	// Until the keeper has seen the Secret, its end is no news to it.
	eventually(t, "the keeper watches", func() bool { return len(client.Actions()) >= 5 })
	if err := client.CoreV1().Secrets("system").Delete(t.Context(), secretName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a bundle with a new authority", func() bool {
		bundle := certificate.CABundle()
		return bytes.HasPrefix(bundle, before) && len(bundle) > len(before)
	})
	if now, _ := certificate.CurrentCertKeyContent(); !bytes.Equal(now, cert) {
		t.Error("another certificate is served before the new authority is known")
	}
}

func TestADamagedSecretIsMendedAndNeverServed(t *testing.T) {
	client, certificate := run(t)
	eventually(t, "the keeper watches", func() bool { return len(client.Actions()) >= 5 })
	damaged := secret(t, client)
	damaged.Data[corev1.TLSCertKey] = []byte("damaged")
	if err := certificate.Load(damaged); err == nil {
		t.Error("a damaged certificate was loaded")
	}
	if _, err := client.CoreV1().Secrets("system").Update(t.Context(), damaged, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Secret is mended", func() bool {
		found := secret(t, client)
		return found != nil && !bytes.Equal(found.Data[corev1.TLSCertKey], damaged.Data[corev1.TLSCertKey])
	})
	if err := certificate.Check(nil); err != nil {
		t.Errorf("unhealthy: %v", err)
	}
}

func TestAnExpiredCertificateIsNotReady(t *testing.T) {
	certificate := New("system", secretName)
	if certificate.Check(nil) == nil {
		t.Error("ready without a certificate")
	}
	old := NewKeeper(fake.NewClientset(), "system", secretName, rules)
	old.now = func() time.Time { return time.Now().Add(-2 * rules.Lifetime) }
	made, _, err := old.Keep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := certificate.Load(made); err != nil {
		t.Fatal(err)
	}
	if certificate.Check(nil) == nil {
		t.Error("ready with an expired certificate")
	}
}
