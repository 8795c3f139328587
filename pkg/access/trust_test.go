package access

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes/fake"
	certutil "k8s.io/client-go/util/cert"
)

// authority is one that signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newAuthority signs itself, or is signed by another one, and has a key of its own unless it is given one.
func newAuthority(t *testing.T, name string, by *authority, key crypto.Signer) *authority {
	t.Helper()
	a := &authority{key: key}
	var err error
	if a.key == nil {
		if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	parent, signer := template, a.key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, a.key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pem(t *testing.T) string {
	t.Helper()
	pem, err := certutil.EncodeCertificates(a.cert)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem)
}

func published(clientCA, frontProxyCA string, allowed ...string) *corev1.ConfigMap {
	names, _ := json.Marshal(allowed)
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: configMapName},
		Data: map[string]string{
			clientCAKey: clientCA, frontProxyCAKey: frontProxyCA, "requestheader-allowed-names": string(names),
			"requestheader-username-headers": `["X-Remote-User"]`, "requestheader-group-headers": `["X-Remote-Group"]`, "requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
		},
	}
}

// settle waits until the check says so, or does not say "not loaded yet" any more.
func settle(t *testing.T, trust *Trust, client *fake.Clientset) (err error) {
	t.Helper()
	if waited := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		err = trust.Check(ctx, client)
		return err == nil || !strings.Contains(err.Error(), "not loaded yet"), nil
	}); waited != nil {
		t.Fatal(err)
	}
	return err
}

func TestATrustThatCanBeSpoofedIsRefused(t *testing.T) {
	proxy := newAuthority(t, "proxies", nil, nil)
	users, proxies := newAuthority(t, "users", nil, nil).pem(t), proxy.pem(t)
	renamed, signed := newAuthority(t, "renamed", nil, proxy.key).pem(t), newAuthority(t, "signed", proxy, nil).pem(t)
	for name, test := range map[string]struct {
		configMap *corev1.ConfigMap
		want      string
	}{
		"two authorities":                                    {published(users, proxies), ""},
		"two authorities and names":                          {published(users, proxies, "front-proxy"), ""},
		"one authority with names":                           {published(users, users, "front-proxy"), ""},
		"one authority without names":                        {published(users, users), "any user could pass for any other"},
		"one authority among others":                         {published(proxies+users, proxies), "any user could pass for any other"},
		"one key under two names":                            {published(renamed, proxies), "any user could pass for any other"},
		"one has signed the other":                           {published(signed, proxies), "any user could pass for any other"},
		"no client authority":                                {published("", proxies), ""},
		"no front proxy":                                     {published(users, ""), "turn the aggregation layer on"},
		"nothing published yet, as in a cluster that begins": {nil, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			if test.configMap != nil {
				if err := client.Tracker().Add(test.configMap); err != nil {
					t.Fatal(err)
				}
			}
			trust, err := TrustHost(t.Context(), genericoptions.NewDelegatingAuthenticationOptions(), client)
			if err != nil {
				t.Fatal(err)
			}
			err = settle(t, trust, client)
			if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
}

// It may become so while we run.
func TestATrustThatBecomesSpoofableVouchesForNobody(t *testing.T) {
	users, proxies := newAuthority(t, "users", nil, nil).pem(t), newAuthority(t, "proxies", nil, nil).pem(t)
	client := fake.NewClientset(published(users, proxies))
	trust, err := TrustHost(t.Context(), genericoptions.NewDelegatingAuthenticationOptions(), client)
	if err != nil {
		t.Fatal(err)
	}
	if err := settle(t, trust, client); err != nil {
		t.Fatal(err)
	}
	if _, ok := trust.FrontProxy.CAContentProvider.VerifyOptions(); !ok {
		t.Fatal("the front proxy is not believed")
	}
	if _, err := client.CoreV1().ConfigMaps("kube-system").Update(t.Context(), published(users, users), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		_, ok := trust.FrontProxy.CAContentProvider.VerifyOptions()
		return !ok, nil
	}); err != nil {
		t.Error("who has a certificate of a user may name any other user")
	}
}
