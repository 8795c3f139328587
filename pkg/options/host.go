package options

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"elasticweb.example.com/pkg/access"
	"elasticweb.example.com/pkg/admission/probe"
	"elasticweb.example.com/pkg/servingcert"
)

// host is the cluster that the server extends, as it is known before the port opens.
type host struct {
	config *rest.Config
	kube   kubernetes.Interface
	trust  *access.Trust
	// certificate is nil if it comes from files.
	certificate *servingcert.Certificate
}

// connect finds out what the server cannot serve without, and waits for it. What follows the host from then on ends with ctx.
func (o *Options) connect(ctx context.Context, config *genericapiserver.RecommendedConfig, fail func(error)) (*host, error) {
	if err := o.Recommended.CoreAPI.ApplyTo(config); err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	// client-go's own limit, of 5 requests a second, would hold up admission; the host's priority and fairness protects it better.
	config.ClientConfig.QPS = -1
	h := &host{config: config.ClientConfig}
	var err error
	if h.kube, err = kubernetes.NewForConfig(h.config); err != nil {
		return nil, fmt.Errorf("client of the host cluster: %w", err)
	}
	reviewer, err := remote(o.Recommended.Authentication.RemoteKubeConfigFile)
	if err != nil {
		return nil, fmt.Errorf("--authentication-kubeconfig: %w", err)
	}
	lookup, err := kubernetes.NewForConfig(reviewer)
	if err != nil {
		return nil, fmt.Errorf("--authentication-kubeconfig: %w", err)
	}
	if h.trust, err = access.TrustHost(ctx, o.Recommended.Authentication, lookup); err != nil {
		return nil, err
	}
	if err := await(ctx, "the host cluster to say whose certificates are believed", func(ctx context.Context) error {
		return h.trust.Check(ctx, lookup)
	}); err != nil {
		return nil, err
	}
	if err := o.loadCertificate(ctx, h); err != nil {
		return nil, err
	}
	return h, o.probeAdmission(ctx, h, fail)
}

// loadCertificate waits for a serving certificate, and makes one if that is ours to do.
func (o *Options) loadCertificate(ctx context.Context, h *host) error {
	serving := o.Recommended.SecureServing
	if serving.ServerCert.CertKey.CertFile != "" || serving.ServerCert.CertKey.KeyFile != "" {
		// Whoever gives the certificate puts its authority into the APIService.
		return nil
	}
	name := o.ServingCertSecret
	keeper := servingcert.NewKeeper(h.kube, o.ServiceNamespace, name, o.certificateRules())
	h.certificate = servingcert.New(o.ServiceNamespace, name)
	if err := await(ctx, "the serving certificate", func(ctx context.Context) error {
		if o.ExternalServingCert {
			secret, err := h.kube.CoreV1().Secrets(o.ServiceNamespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			return h.certificate.Load(secret)
		}
		secret, _, err := keeper.Keep(ctx)
		if err != nil {
			return err
		}
		return h.certificate.Load(secret)
	}); err != nil {
		return err
	}
	serving.ServerCert.GeneratedCert = h.certificate
	go h.certificate.Follow(ctx, h.kube)
	return nil
}

// probeAdmission switches off what the host does not serve.
func (o *Options) probeAdmission(ctx context.Context, h *host, fail func(error)) error {
	client, err := metadata.NewForConfig(h.config)
	if err != nil {
		return fmt.Errorf("client of the host cluster: %w", err)
	}
	admission, features := o.Recommended.Admission, o.Recommended.Features
	wanted := func(plugin string) bool {
		if plugin == probe.FlowControl {
			return features.EnablePriorityAndFairness
		}
		return !slices.Contains(admission.DisablePlugins, plugin)
	}
	var off map[string]string
	if err := await(ctx, "the host cluster's admission APIs", func(ctx context.Context) (err error) {
		off, err = probe.Run(ctx, client, wanted)
		return err
	}); err != nil {
		return err
	}
	go watchForPlugins(ctx, client, off, fail)
	for plugin, reason := range off {
		probe.SwitchedOff(ctx, plugin, reason)
		if plugin == probe.FlowControl {
			features.EnablePriorityAndFairness = false
			continue
		}
		admission.DisablePlugins = append(admission.DisablePlugins, plugin)
		admission.EnablePlugins = slices.DeleteFunc(admission.EnablePlugins, func(enabled string) bool { return enabled == plugin })
	}
	return nil
}

// probePeriod is how often it is looked whether the host serves by now what it did not serve at the start.
const probePeriod = time.Minute

// watchForPlugins ends the server when a plugin that is off could be on: a host that is upgraded serves more policies than before,
// and they must hold.
func watchForPlugins(ctx context.Context, client metadata.Interface, off map[string]string, fail func(error)) {
	missing := func(plugin string) bool { return off[plugin] != "" && plugin != probe.FlowControl }
	for len(off) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(probePeriod):
		}
		still, err := probe.Run(ctx, client, missing)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot see whether the host cluster serves by now what is off, will try again")
			continue
		}
		for plugin := range off {
			if missing(plugin) && still[plugin] == "" {
				fail(fmt.Errorf("the host cluster serves the API of admission plugin %s by now: a new start is needed to follow it", plugin))
				return
			}
		}
	}
}

// remote is how a cluster is reached: by the kubeconfig, or from within.
func remote(kubeconfig string) (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

func (o *Options) certificateRules() servingcert.Rules {
	return servingcert.Rules{
		Service: o.ServiceName, Namespace: o.ServiceNamespace,
		Lifetime: o.ServingCertLifetime, CALifetime: o.ServingCertCALifetime,
	}
}
