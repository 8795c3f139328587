package servingcert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	corev1informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Certificate is the serving certificate as the Secret has it. Every replica follows the Secret.
type Certificate struct {
	namespace, name string
	content         atomic.Pointer[content]

	mu        sync.Mutex
	listeners []dynamiccertificates.Listener
}

type content struct {
	cert, key, bundle []byte
	notAfter          time.Time
}

var _ dynamiccertificates.CertKeyContentProvider = &Certificate{}

// New returns the certificate of that Secret, which is not loaded yet.
func New(namespace, name string) *Certificate {
	return &Certificate{namespace: namespace, name: name}
}

// Name implements dynamiccertificates.CertKeyContentProvider.
func (c *Certificate) Name() string { return "Secret " + c.namespace + "/" + c.name }

// AddListener implements dynamiccertificates.Notifier.
func (c *Certificate) AddListener(listener dynamiccertificates.Listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, listener)
}

// CurrentCertKeyContent implements dynamiccertificates.CertKeyContentProvider.
func (c *Certificate) CurrentCertKeyContent() (cert, key []byte) {
	current := c.content.Load()
	if current == nil {
		return nil, nil
	}
	return current.cert, current.key
}

// CABundle is what verifies the certificate, in PEM. Empty: the Secret does not say.
func (c *Certificate) CABundle() []byte {
	current := c.content.Load()
	if current == nil {
		return nil
	}
	return current.bundle
}

// Load takes over the certificate of the Secret. One that cannot be used is refused, and the last one that could stays.
func (c *Certificate) Load(secret *corev1.Secret) error {
	cert, key := secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]
	loaded, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s: %s and %s: %w", c.Name(), corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	c.content.Store(&content{cert: cert, key: key, bundle: secret.Data[bundleKey], notAfter: loaded.Leaf.NotAfter})
	expiration.WithLabelValues().Set(float64(loaded.Leaf.NotAfter.Unix()))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, listener := range c.listeners {
		listener.Enqueue()
	}
	return nil
}

// Follow loads every change of the Secret until ctx ends.
func (c *Certificate) Follow(ctx context.Context, client kubernetes.Interface) {
	logger := klog.FromContext(ctx).WithName("serving-certificate")
	informer := newSecretInformer(client, c.namespace, c.name)
	load := func(object any) {
		secret, ok := object.(*corev1.Secret)
		if !ok {
			return
		}
		if err := c.Load(secret); err != nil {
			logger.Error(err, "Cannot load the serving certificate, and keep the last one")
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: load, UpdateFunc: func(_, object any) { load(object) }}
	if _, err := informer.AddEventHandler(handler); err != nil {
		logger.Error(err, "Cannot follow the Secret")
		return
	}
	informer.RunWithContext(ctx)
}

// Check is a health check: there is a certificate, and it has not expired.
func (c *Certificate) Check(*http.Request) error {
	current := c.content.Load()
	if current == nil {
		return errors.New("no serving certificate is loaded")
	}
	if !time.Now().Before(current.notAfter) {
		return fmt.Errorf("the serving certificate has expired, at %s", current.notAfter.Format(time.RFC3339))
	}
	return nil
}

func newSecretInformer(client kubernetes.Interface, namespace, name string) cache.SharedIndexInformer {
	return corev1informers.NewFilteredSecretInformer(client, namespace, 0, cache.Indexers{}, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	})
}
