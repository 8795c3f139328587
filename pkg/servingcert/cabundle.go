package servingcert

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const fieldManager = "elasticweb-serving-certificate"

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// Publisher owns, in the APIService that registers this server, spec.caBundle and spec.insecureSkipTLSVerify: false. It never
// creates the APIService, and leaves one alone that leads to another Service.
type Publisher struct {
	client             dynamic.Interface
	apiService         string
	service, namespace string
	certificate        *Certificate
	// changed has room for one notice: many changes are one reason to look.
	changed chan struct{}
}

// NewPublisher returns a publisher that Run starts. apiService is the name of the APIService; service and namespace are the
// Service in front of this server; certificate has the bundle to publish.
func NewPublisher(client dynamic.Interface, apiService, service, namespace string, certificate *Certificate) *Publisher {
	p := &Publisher{client: client, apiService: apiService, service: service, namespace: namespace, certificate: certificate, changed: make(chan struct{}, 1)}
	certificate.AddListener(listener(p.notify))
	return p
}

// Run keeps the APIService as it must be until ctx ends: a change by somebody else is mended as soon as it is seen.
func (p *Publisher) Run(ctx context.Context) {
	logger := klog.FromContext(ctx).WithName("ca-bundle").WithValues("apiService", p.apiService)
	informer := dynamicinformer.NewFilteredDynamicInformer(p.client, apiServices, "", 0, nil, func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", p.apiService).String()
	}).Informer()

	handler := cache.ResourceEventHandlerFuncs{AddFunc: func(any) { p.notify() }, UpdateFunc: func(any, any) { p.notify() }}
	if _, err := informer.AddEventHandler(handler); err != nil {
		logger.Error(err, "Cannot watch the APIService")
		return
	}
	go informer.RunWithContext(ctx)

	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		backoff := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 10, Cap: 10 * time.Second}
		for {
			err := p.sync(klog.NewContext(ctx, logger), informer.GetStore())
			if err == nil || ctx.Err() != nil {
				break
			}
			logger.Error(err, "Cannot publish the certificate authority, will try again")
			select {
			case <-ctx.Done():
				return
			case <-time.After(backoff.Step()):
			}
		}
	}
}

// listener is told when the certificate, and so perhaps the bundle, has changed.
type listener func()

// Enqueue implements dynamiccertificates.Listener.
func (l listener) Enqueue() { l() }

func (p *Publisher) notify() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *Publisher) sync(ctx context.Context, store cache.Store) error {
	object, found, err := store.GetByKey(p.apiService)
	if err != nil || !found {
		return err
	}
	current := object.(*unstructured.Unstructured)
	service, _, _ := unstructured.NestedString(current.Object, "spec", "service", "name")
	namespace, _, _ := unstructured.NestedString(current.Object, "spec", "service", "namespace")
	if service != p.service || namespace != p.namespace {
		klog.FromContext(ctx).Info("The APIService leads to another Service and is left alone", "service", klog.KRef(namespace, service))
		return nil
	}
	bundle := p.certificate.CABundle()
	if len(bundle) == 0 {
		// A Secret without ca.crt: whoever keeps it takes care of the APIService, too.
		return nil
	}
	want := base64.StdEncoding.EncodeToString(bundle)
	have, _, _ := unstructured.NestedString(current.Object, "spec", "caBundle")
	if have == want {
		// So it is verified: kube-apiserver refuses insecureSkipTLSVerify together with a bundle.
		return nil
	}
	apply := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": apiServices.GroupVersion().String(),
		"kind":       "APIService",
		"metadata": map[string]any{
			"name": p.apiService,
			// Refused if the object has changed or gone: an apply would otherwise create it.
			"resourceVersion": current.GetResourceVersion(),
		},
		"spec": map[string]any{"caBundle": want, "insecureSkipTLSVerify": false},
	}}
	if _, err := p.client.Resource(apiServices).Apply(ctx, p.apiService, apply, metav1.ApplyOptions{FieldManager: fieldManager, Force: true}); err != nil {
		return fmt.Errorf("apply spec.caBundle: %w", err)
	}
	klog.FromContext(ctx).Info("Published the certificate authority")
	return nil
}
