package access

import (
	"fmt"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	"k8s.io/apiserver/pkg/authorization/union"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// anonymousPaths are what may be asked without saying who one is: a kubelet's probes.
var anonymousPaths = []string{"/livez", "/readyz", "/healthz"}

// NewReviewClient returns a client for token and access reviews. It has no rate limit of its own: the host's priority and
// fairness has, and what waits here is a user's request. (The library's options would allow 200 reviews a second.)
func NewReviewClient(host *rest.Config) (kubernetes.Interface, error) {
	config := rest.CopyConfig(host)
	config.QPS = -1
	config.Wrap(share)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for reviews: %w", err)
	}
	return client, nil
}

// Authenticate makes the server ask for the client certificates that the trust believes, and know requests by them and by tokens
// that the client's cluster reviews.
func Authenticate(config *genericapiserver.Config, options *genericoptions.DelegatingAuthenticationOptions, trust *Trust, client kubernetes.Interface) error {
	factory := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                          &apiserver.AnonymousAuthConfig{Enabled: true},
		CacheTTL:                           options.CacheTTL,
		WebhookRetryBackoff:                options.WebhookRetryBackoff,
		TokenAccessReviewTimeout:           options.TokenRequestTimeout,
		TokenAccessReviewClient:            client.AuthenticationV1(),
		ClientCertificateCAContentProvider: trust.ClientCA,
		RequestHeaderConfig:                trust.FrontProxy,
	}
	for _, path := range anonymousPaths {
		factory.Anonymous.Conditions = append(factory.Anonymous.Conditions, apiserver.AnonymousAuthCondition{Path: path})
	}
	var authorities []dynamiccertificates.CAContentProvider
	if trust.ClientCA != nil {
		authorities = append(authorities, trust.ClientCA)
	}
	if trust.FrontProxy != nil {
		config.Authentication.RequestHeaderConfig = trust.FrontProxy
		authorities = append(authorities, trust.FrontProxy.CAContentProvider)
	}
	for _, authority := range authorities {
		if err := config.Authentication.ApplyClientCert(authority, config.SecureServing); err != nil {
			return fmt.Errorf("ask for client certificates: %w", err)
		}
	}
	authenticator, definitions, err := factory.New()
	if err != nil {
		return fmt.Errorf("authenticator: %w", err)
	}
	config.Authentication.Authenticator = authenticator
	config.OpenAPIConfig.SecurityDefinitions = definitions
	return nil
}

// NewAuthorizer returns an authorizer that asks the client's cluster. An answer is believed for the time that the options say, and
// no answer is a no.
func NewAuthorizer(options *genericoptions.DelegatingAuthorizationOptions, client kubernetes.Interface) (authorizer.Authorizer, error) {
	always, err := path.NewAuthorizer(options.AlwaysAllowPaths)
	if err != nil {
		return nil, fmt.Errorf("--authorization-always-allow-paths: %w", err)
	}
	delegated, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(),
		AllowCacheTTL:             options.AllowCacheTTL,
		DenyCacheTTL:              options.DenyCacheTTL,
		WebhookRetryBackoff:       options.WebhookRetryBackoff,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("authorizer: %w", err)
	}
	return union.New(
		union.NamedAuthorizer{AuthorizerName: "kubernetes.io/always-allow-groups", Authorizer: authorizerfactory.NewPrivilegedGroups(options.AlwaysAllowGroups...)},
		union.NamedAuthorizer{AuthorizerName: "kubernetes.io/always-allow-paths", Authorizer: always},
		union.NamedAuthorizer{AuthorizerName: "kubernetes.io/delegated", Authorizer: delegated},
	)
}
