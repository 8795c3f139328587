package access

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes"
	certutil "k8s.io/client-go/util/cert"
)

// The ConfigMap, in kube-system, in which kube-apiserver publishes whose client certificates it believes, and which headers its
// aggregation layer sends.
const (
	configMapName     = "extension-apiserver-authentication"
	clientCAKey       = "client-ca-file"
	frontProxyCAKey   = "requestheader-client-ca-file"
	configMapLocation = "ConfigMap " + metav1.NamespaceSystem + "/" + configMapName
)

// Trust is whose client certificates are believed, and who may speak for others by request headers.
type Trust struct {
	// ClientCA signs certificates of users. Nil: nobody is known by a certificate.
	ClientCA dynamiccertificates.CAContentProvider
	// FrontProxy signs the certificate of the aggregation layer, which names users in headers.
	FrontProxy *authenticatorfactory.RequestHeaderConfig
}

// TrustHost follows what the host cluster publishes, changes included, until ctx ends. Only what the options do not have from
// files is looked up. The trust is complete when Check says so.
func TrustHost(ctx context.Context, options *genericoptions.DelegatingAuthenticationOptions, client kubernetes.Interface) (*Trust, error) {
	trust := &Trust{}
	switch {
	case options.ClientCert.ClientCA != "":
		provider, err := options.ClientCert.GetClientCAContentProvider()
		if err != nil {
			return nil, fmt.Errorf("--client-ca-file: %w", err)
		}
		trust.ClientCA = provider
	case !options.SkipInClusterLookup:
		controller, err := dynamiccertificates.NewDynamicCAFromConfigMapController("client-ca", metav1.NamespaceSystem, configMapName, clientCAKey, client)
		if err != nil {
			return nil, err
		}
		go controller.Run(ctx, 1)
		trust.ClientCA = running{controller}
	}
	switch {
	case options.RequestHeader.ClientCAFile != "":
		config, err := options.RequestHeader.ToAuthenticationRequestHeaderConfig()
		if err != nil {
			return nil, fmt.Errorf("--requestheader-client-ca-file: %w", err)
		}
		if file, ok := config.CAContentProvider.(dynamiccertificates.ControllerRunner); ok {
			// separate, around it, hides this from the server, which would do it.
			go file.Run(ctx, 1)
		}
		trust.FrontProxy = config
	case !options.SkipInClusterLookup:
		ca, err := dynamiccertificates.NewDynamicCAFromConfigMapController("front-proxy-ca", metav1.NamespaceSystem, configMapName, frontProxyCAKey, client)
		if err != nil {
			return nil, err
		}
		headers := headerrequest.NewRequestHeaderAuthRequestController(configMapName, metav1.NamespaceSystem, client,
			"requestheader-username-headers", "requestheader-uid-headers", "requestheader-group-headers",
			"requestheader-extra-headers-prefix", "requestheader-allowed-names")
		controller := &genericoptions.DynamicRequestHeaderController{ConfigMapCAController: ca, RequestHeaderAuthRequestController: headers}
		go controller.Run(ctx, 1)
		trust.FrontProxy = &authenticatorfactory.RequestHeaderConfig{
			CAContentProvider:   running{controller},
			UsernameHeaders:     headerrequest.StringSliceProviderFunc(controller.UsernameHeaders),
			UIDHeaders:          headerrequest.StringSliceProviderFunc(controller.UIDHeaders),
			GroupHeaders:        headerrequest.StringSliceProviderFunc(controller.GroupHeaders),
			ExtraHeaderPrefixes: headerrequest.StringSliceProviderFunc(controller.ExtraHeaderPrefixes),
			AllowedClientNames:  headerrequest.StringSliceProviderFunc(controller.AllowedClientNames),
		}
	}
	if trust.FrontProxy != nil {
		trust.FrontProxy.CAContentProvider = &separate{CAContentProvider: trust.FrontProxy.CAContentProvider, trust: trust}
	}
	return trust, nil
}

// running is a provider that its maker runs. Without its Run the server would run it a second time.
type running struct {
	dynamiccertificates.CAContentProvider
}

// Check returns what is missing before requests can be told apart, and the host's own word on why, if it has one.
func (t *Trust) Check(ctx context.Context, client kubernetes.Interface) error {
	if t.FrontProxy == nil {
		return nil
	}
	if len(t.FrontProxy.CAContentProvider.CurrentCABundleContent()) > 0 && len(t.FrontProxy.UsernameHeaders.Value()) > 0 {
		// The client CA comes with the same ConfigMap; not every cluster has one.
		published, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, configMapName, metav1.GetOptions{})
		if err == nil && published.Data[clientCAKey] != "" && t.ClientCA != nil && len(t.ClientCA.CurrentCABundleContent()) == 0 {
			return fmt.Errorf("%s: %s is not loaded yet", configMapLocation, clientCAKey)
		}
		return t.spoofable()
	}
	published, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, configMapName, metav1.GetOptions{})
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", configMapLocation, err)
	case published.Data[frontProxyCAKey] == "":
		return fmt.Errorf("%s has no %s: give kube-apiserver its --requestheader-… flags, which turn the aggregation layer on", configMapLocation, frontProxyCAKey)
	default:
		return fmt.Errorf("%s is not loaded yet", configMapLocation)
	}
}

var errSpoofable = errors.New("the authority of the front proxy (requestheader-client-ca-file) also signs the certificates of users (client-ca-file), and no requestheader-allowed-names tell them apart: " +
	"any user could pass for any other by a header. Give kube-apiserver an authority of its own for the front proxy, or --requestheader-allowed-names")

// spoofable refuses a trust in which who has a certificate of a user may name any other user in a header.
func (t *Trust) spoofable() error {
	if t.ClientCA == nil || len(t.FrontProxy.AllowedClientNames.Value()) > 0 {
		return nil
	}
	users, err := certutil.ParseCertsPEM(t.ClientCA.CurrentCABundleContent())
	if err != nil {
		return nil
	}
	proxies, err := certutil.ParseCertsPEM(t.FrontProxy.CAContentProvider.CurrentCABundleContent())
	if err != nil {
		return nil
	}
	roots, all := x509.NewCertPool(), x509.NewCertPool()
	for _, proxy := range proxies {
		roots.AddCert(proxy)
	}
	for _, authority := range append(users, proxies...) {
		all.AddCert(authority)
	}
	for _, user := range users {
		for _, proxy := range proxies {
			// The key is what signs: the same one under another name is no other authority.
			if bytes.Equal(proxy.RawSubjectPublicKeyInfo, user.RawSubjectPublicKeyInfo) {
				return errSpoofable
			}
		}
		// Nor is one that the other has signed: users show it along with their certificate.
		if _, err := user.Verify(x509.VerifyOptions{Roots: roots, Intermediates: all, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
			return errSpoofable
		}
	}
	return nil
}

// separate is the front proxy's authority; it vouches for nobody while the trust is spoofable, which it may become while we run.
type separate struct {
	dynamiccertificates.CAContentProvider
	trust *Trust
}

// VerifyOptions implements dynamiccertificates.CAContentProvider.
func (s *separate) VerifyOptions() (x509.VerifyOptions, bool) {
	if s.trust.spoofable() != nil {
		return x509.VerifyOptions{}, false
	}
	return s.CAContentProvider.VerifyOptions()
}
