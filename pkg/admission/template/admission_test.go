package template

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

func web(tier string) *elasticweb.ElasticWeb {
	web := &elasticweb.ElasticWeb{ObjectMeta: metav1.ObjectMeta{Namespace: "dev", Name: "web"}}
	if tier != "" {
		web.Spec.Template = &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"tier": tier}}}
	}
	return web
}

func withImage(web *elasticweb.ElasticWeb, image string) *elasticweb.ElasticWeb {
	web.Spec.Image = image
	return web
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name        string
		web, old    *elasticweb.ElasticWeb
		resource    string
		subresource string
		// asked says whether the authorizer is; who may not is then refused.
		asked bool
	}{
		{name: "a new one with a template", web: web("front"), asked: true},
		{name: "a new one without", web: web("")},
		{name: "one sets it", web: web("front"), old: web(""), asked: true},
		{name: "one changes it", web: web("front"), old: web("back"), asked: true},
		{name: "one removes it", web: web(""), old: web("back"), asked: true},
		{name: "one leaves it as it is", web: web("front"), old: web("front")},
		{name: "one changes the image below it", web: withImage(web("front"), "b"), old: withImage(web("front"), "a"), asked: true},
		{name: "one changes the image without one", web: withImage(web(""), "b"), old: withImage(web(""), "a")},
		{name: "the status of one", web: web("front"), old: web(""), subresource: "status"},
		{name: "another kind", web: web("front"), resource: "others"},
	}
	for _, tt := range tests {
		for _, decision := range []authorizer.Decision{authorizer.DecisionAllow, authorizer.DecisionNoOpinion, authorizer.DecisionDeny} {
			t.Run(tt.name, func(t *testing.T) {
				var asked []string
				err := validate(t, tt.web, tt.old, tt.resource, tt.subresource, func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
					asked = append(asked, strings.Join([]string{a.GetUser().GetName(), a.GetVerb(), a.GetAPIGroup(), a.GetResource(), a.GetNamespace(), a.GetSubresource()}, " "))
					return decision, "for a reason", nil
				})
				if got, want := strings.Join(asked, ", "), "someone create apps deployments dev "; tt.asked && got != want || !tt.asked && got != "" {
					t.Errorf("asked for %q, want %q: %t", got, want, tt.asked)
				}
				refused := tt.asked && decision != authorizer.DecisionAllow
				if apierrors.IsForbidden(err) != refused || err != nil && !strings.Contains(err.Error(), `create deployments.apps in namespace "dev": for a reason`) {
					t.Errorf("error = %v, want a 403 that says what is missing: %t", err, refused)
				}
			})
		}
	}
}

// An authorizer that cannot be asked lets nobody through.
func TestFailsClosed(t *testing.T) {
	err := validate(t, web("front"), nil, "", "", func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionNoOpinion, "", errors.New("it is away")
	})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "it is away") {
		t.Errorf("error = %v, want a 403 that says why", err)
	}
	if New().ValidateInitialization() == nil {
		t.Error("a plugin without an authorizer counts as initialized")
	}
}

func validate(t *testing.T, web, oldWeb *elasticweb.ElasticWeb, resource, subresource string, answer authorizer.AuthorizerFunc) error {
	t.Helper()
	plugin := New()
	plugin.SetUnconditionalAuthorizer(answer)
	operation := admission.Create
	if resource == "" {
		resource = "elasticwebs"
	}
	var old runtime.Object
	if oldWeb != nil {
		old, operation = oldWeb, admission.Update
	}
	return plugin.Validate(t.Context(), admission.NewAttributesRecord(web, old, elasticweb.SchemeGroupVersion.WithKind("ElasticWeb"),
		web.Namespace, web.Name, v1.SchemeGroupVersion.WithResource(resource), subresource, operation, nil, false, &user.DefaultInfo{Name: "someone"}), nil)
}
