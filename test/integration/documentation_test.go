package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

const ours = "com.example.elasticweb.v1."

func TestDiscovery(t *testing.T) {
	list := get[metav1.APIResourceList](t, "/apis/elasticweb.example.com/v1", "application/json")
	resources := map[string]metav1.APIResource{}
	for _, resource := range list.APIResources {
		resources[resource.Name] = resource
	}
	main := resources["elasticwebs"]
	if main.Kind != "ElasticWeb" || main.SingularName != "elasticweb" || !main.Namespaced ||
		!slices.Equal(main.ShortNames, []string{"ew"}) || !slices.Equal(main.Categories, []string{"all"}) {
		t.Errorf("elasticwebs = %+v", main)
	}
	verbs := slices.Sorted(slices.Values(main.Verbs))
	if want := "create delete deletecollection get list patch update watch"; strings.Join(verbs, " ") != want {
		t.Errorf("verbs of elasticwebs = %v, want %s", verbs, want)
	}
	verbs = slices.Sorted(slices.Values(resources["elasticwebs/status"].Verbs))
	if want := "get patch update"; strings.Join(verbs, " ") != want {
		t.Errorf("verbs of elasticwebs/status = %v, want %s", verbs, want)
	}
}

// kubectl explain prints these.
func TestEveryFieldIsDescribed(t *testing.T) {
	document := get[spec3.OpenAPI](t, "/openapi/v3/apis/elasticweb.example.com/v1", "application/json")
	fields := 0
	for name, schema := range document.Components.Schemas {
		if !strings.HasPrefix(name, ours) {
			continue
		}
		if schema.Description == "" {
			t.Errorf("%s has no description", name)
		}
		for field, property := range schema.Properties {
			fields++
			if property.Description == "" {
				t.Errorf("%s.%s has no description", name, field)
			}
		}
	}
	if fields < 25 {
		t.Errorf("only %d fields of ours are documented", fields)
	}
}

// What the documentation calls the default is what a decoded object has.
func TestDefaultsAreAsDocumented(t *testing.T) {
	document := get[spec3.OpenAPI](t, "/openapi/v3/apis/elasticweb.example.com/v1", "application/json")
	web := &v1.ElasticWeb{}
	v1.SetDefaults_ElasticWebSpec(&web.Spec)
	defaulted, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&web.Spec)
	if err != nil {
		t.Fatal(err)
	}
	documented := 0
	for field, schema := range document.Components.Schemas[ours+"ElasticWebSpec"].Properties {
		// Zeros stand for "no default" in every schema.
		if schema.Default == nil || schema.Default == "" {
			continue
		}
		documented++
		if got, want := fmt.Sprint(defaulted[field]), fmt.Sprint(schema.Default); got != want {
			t.Errorf("%s: the default is %s, documented is %s", field, got, want)
		}
	}
	if documented < 5 {
		t.Errorf("only %d defaults are documented", documented)
	}
}

// The cluster merges our definitions with its own: a name that is not the cluster's would be renamed in both.
func TestOpenAPIV2UsesTheClustersNames(t *testing.T) {
	document := get[spec.Swagger](t, "/openapi/v2", "application/json")
	if _, ok := document.Definitions[ours+"ElasticWeb"]; !ok {
		t.Errorf("%sElasticWeb is not in OpenAPI v2", ours)
	}
	for name := range document.Definitions {
		if !strings.HasPrefix(name, ours) && !strings.HasPrefix(name, "io.k8s.api") {
			t.Errorf("definition %s has a name that no cluster uses", name)
		}
		if strings.Contains(name, "/") {
			t.Errorf("definition %s has a name that cannot be parsed", name)
		}
	}
}
