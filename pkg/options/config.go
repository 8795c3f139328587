package options

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"

	"elasticweb.example.com/pkg/access"
	"elasticweb.example.com/pkg/apiserver"
	"elasticweb.example.com/pkg/controller"
	"elasticweb.example.com/pkg/generated/clientset/versioned"
	informers "elasticweb.example.com/pkg/generated/informers/externalversions"
	"elasticweb.example.com/pkg/storage/embedded"
	"elasticweb.example.com/pkg/storage/identity"
)

// Config turns the flags into the configuration of a server whose etcd runs. It waits for all that the server cannot serve without,
// and opens the port after that. What keeps the configuration up to date ends with ctx. fail ends the server.
func (o *Options) Config(ctx context.Context, fail func(error)) (*apiserver.Config, error) {
	config := apiserver.NewGenericConfig()
	generic := &config.Config
	if err := errors.Join(
		o.ServerRun.ApplyTo(generic),
		ofFlag("--egress-selector-config-file", o.Recommended.EgressSelector.ApplyTo(generic)),
		ofFlag("--tracing-config-file", o.Recommended.Traces.ApplyTo(generic.EgressSelector, generic)),
		ofFlag("--audit-policy-file, --audit-log-path and the others for auditing", o.Recommended.Audit.ApplyTo(generic)),
	); err != nil {
		return nil, err
	}
	h, err := o.connect(ctx, config, fail)
	if err != nil {
		return nil, err
	}
	guard, err := o.guardStorage(ctx, h.kube)
	if err != nil {
		return nil, err
	}
	if err := o.Recommended.SecureServing.ApplyToConfig(generic); err != nil {
		return nil, err
	}
	if err := o.applyAccess(config, h); err != nil {
		return nil, err
	}
	if err := o.ApplyStorage(generic); err != nil {
		return nil, err
	}
	unguarded := generic.RESTOptionsGetter
	generic.RESTOptionsGetter = guard.Protect(unguarded)
	own, err := newOwnClient(generic.LoopbackClientConfig)
	if err != nil {
		return nil, err
	}
	if err := o.applyAdmission(config, h, own); err != nil {
		return nil, err
	}
	o.addHealthChecks(config, h, guard, own)
	elector, err := o.elector(config, parts{host: h, own: own, guard: guard, storage: unguarded})
	if err != nil {
		return nil, err
	}
	if err := o.registerMetrics(own); err != nil {
		return nil, err
	}
	go func() {
		if err := guard.Run(ctx); err != nil {
			fail(err)
		}
	}()
	return &apiserver.Config{
		Generic: config,
		Extra: apiserver.ExtraConfig{
			NodePorts:  o.NodePorts,
			Companions: map[string]apiserver.Companion{"elasticweb-informers": own, "leader-election": elector},
		},
	}, nil
}

// ofFlag says which flag an error of the library is about.
func ofFlag(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// applyAccess says who may.
func (o *Options) applyAccess(config *genericapiserver.RecommendedConfig, h *host) error {
	authentication, err := remote(o.Recommended.Authentication.RemoteKubeConfigFile)
	if err != nil {
		return fmt.Errorf("--authentication-kubeconfig: %w", err)
	}
	tokens, err := access.NewReviewClient(authentication)
	if err != nil {
		return err
	}
	if err := access.Authenticate(&config.Config, o.Recommended.Authentication, h.trust, tokens); err != nil {
		return err
	}
	authorization, err := remote(o.Recommended.Authorization.RemoteKubeConfigFile)
	if err != nil {
		return fmt.Errorf("--authorization-kubeconfig: %w", err)
	}
	reviews, err := access.NewReviewClient(authorization)
	if err != nil {
		return err
	}
	config.Authorization.Authorizer, err = access.NewAuthorizer(o.Recommended.Authorization, reviews)
	return err
}

// applyAdmission sets up the admission chain, and priority and fairness. It needs the authorizer.
func (o *Options) applyAdmission(config *genericapiserver.RecommendedConfig, h *host, own ownClient) error {
	anything, err := dynamic.NewForConfig(h.config)
	if err != nil {
		return fmt.Errorf("client of the host cluster: %w", err)
	}
	if err := o.Recommended.Features.ApplyTo(&config.Config, h.kube, config.SharedInformerFactory); err != nil {
		return err
	}
	return o.Recommended.Admission.ApplyTo(&config.Config, withoutParameters{config.SharedInformerFactory}, h.kube, anything,
		utilfeature.DefaultFeatureGate, config.EffectiveVersion, pluginInitializer{own.informers})
}

// authorizationPatience is how long /readyz waits for an access review, in a probe of a kubelet.
const authorizationPatience = 2 * time.Second

// addHealthChecks adds what must be well to send us traffic. Restarting us heals none of it, so it is no part of /livez.
func (o *Options) addHealthChecks(config *genericapiserver.RecommendedConfig, h *host, guard *identity.Guard, own ownClient) {
	checks := []healthz.HealthChecker{
		healthz.NamedCheck("storage-identity", guard.Check),
		healthz.NamedCheck("elasticweb-informers", own.check),
		healthz.NamedCheck("authorization", func(request *http.Request) error {
			ctx, cancel := context.WithTimeout(request.Context(), authorizationPatience)
			defer cancel()
			// Any answer will do, and it is cached as others are.
			_, _, err := config.Authorization.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
				User: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}, Verb: "get", Path: "/authorization-path",
			})
			return err
		}),
	}
	if h.certificate != nil {
		checks = append(checks, healthz.NamedCheck("serving-certificate", h.certificate.Check))
	}
	config.AddReadyzChecks(checks...)
}

func (o *Options) registerMetrics(own ownClient) error {
	if o.PerObjectMetrics {
		if err := legacyregistry.CustomRegister(controller.NewObjectMetrics(own.informers.Elasticweb().V1().ElasticWebs().Lister())); err != nil {
			return fmt.Errorf("register the metrics of ElasticWebs: %w", err)
		}
	}
	if o.embeds {
		legacyregistry.RawMustRegister(embedded.Metrics{})
	}
	if o.embeds && o.Snapshots.Interval > 0 {
		if err := legacyregistry.CustomRegister(embedded.NewSnapshotMetrics(o.Snapshots.Dir)); err != nil {
			return fmt.Errorf("register the metrics of snapshots: %w", err)
		}
	}
	if file := o.Etcd.StorageConfig.Transport.CertFile; file != "" {
		if err := legacyregistry.CustomRegister(&etcdCertificateMetrics{file: file}); err != nil {
			return fmt.Errorf("register the metrics of the certificate for etcd: %w", err)
		}
	}
	return nil
}

// ownClient is the view that the server has of its own kind, shared by admission and the controller.
type ownClient struct {
	clientset versioned.Interface
	informers informers.SharedInformerFactory
}

func newOwnClient(loopback *rest.Config) (ownClient, error) {
	clientset, err := versioned.NewForConfig(loopback)
	if err != nil {
		return ownClient{}, fmt.Errorf("loopback client: %w", err)
	}
	own := ownClient{clientset: clientset, informers: informers.NewSharedInformerFactory(clientset, 0)}
	// Asked for here, or the factory would not run it.
	own.informers.Elasticweb().V1().ElasticWebs().Informer()
	return own, nil
}

// Run keeps the view up to date until ctx ends.
func (c ownClient) Run(ctx context.Context) {
	c.informers.StartWithContext(ctx)
	<-ctx.Done()
	c.informers.Shutdown()
}

func (c ownClient) check(*http.Request) error {
	if !c.informers.Elasticweb().V1().ElasticWebs().Informer().HasSynced() {
		return errors.New("the cache of ElasticWebs is not filled")
	}
	return nil
}
