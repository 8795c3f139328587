package integration

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	applyv1 "elasticweb.example.com/pkg/generated/applyconfiguration/elasticweb/v1"
)

func TestANewObjectIsDefaultedAndUnsettled(t *testing.T) {
	web := sample("web")
	web.Spec.TotalQPS = nil
	web.Status = v1.ElasticWebStatus{RealQPS: ptr.To[int64](1), ObservedGeneration: 7}
	got := create(t, web)

	if *got.Spec.TotalQPS != 800 {
		t.Errorf("totalQPS = %d, want singlePodsQPS, 800", *got.Spec.TotalQPS)
	}
	if got.Spec.ContainerPort != 80 || got.Spec.ServicePort != 8080 {
		t.Errorf("containerPort, servicePort = %d, %d, want 80, 8080", got.Spec.ContainerPort, got.Spec.ServicePort)
	}
	if got.Spec.Resources != nil {
		t.Errorf("resources = %v, want them left as the user wrote them: not at all", got.Spec.Resources)
	}
	if got.Generation != 1 || got.Status.ObservedGeneration != 0 {
		t.Errorf("generation, observedGeneration = %d, %d, want 1, 0", got.Generation, got.Status.ObservedGeneration)
	}
	if got.Status.RealQPS != nil {
		t.Errorf("realQPS = %d: a create must not set the status", *got.Status.RealQPS)
	}
	if want := "elasticweb.example.com/name=web"; got.Status.Selector != want {
		t.Errorf("selector = %q, want %q", got.Status.Selector, want)
	}
	ready := apimeta.FindStatusCondition(got.Status.Conditions, v1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionUnknown || ready.LastTransitionTime.IsZero() {
		t.Errorf("Ready = %+v, want Unknown since the creation", ready)
	}
}

func TestAGeneratedNameGetsItsSelector(t *testing.T) {
	web := sample("")
	web.GenerateName = "web-"
	got := create(t, web)
	if want := v1.SelectorFor(got.Name); got.Name == "" || got.Status.Selector != want {
		t.Errorf("name %q has selector %q, want %q", got.Name, got.Status.Selector, want)
	}
}

func TestTotalQPSLeftOutOfAnUpdateStays(t *testing.T) {
	web := create(t, sample("web"))
	web.Spec.TotalQPS, web.Spec.Image = nil, "nginx:1.29"
	got, err := server.web.ElasticWebs(web.Namespace).Update(t.Context(), web, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Spec.TotalQPS == nil || *got.Spec.TotalQPS != 2400 {
		t.Errorf("totalQPS = %v, want 2400 as before", got.Spec.TotalQPS)
	}
}

func TestGenerationRisesWithTheSpecOnly(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	web := create(t, sample("web"))
	patch := func(body string, subresources ...string) *v1.ElasticWeb {
		t.Helper()
		got, err := client.Patch(t.Context(), "web", types.MergePatchType, []byte(body), metav1.PatchOptions{}, subresources...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := patch(`{"metadata":{"labels":{"a":"b"}}}`); got.Generation != 1 {
		t.Errorf("a label raised the generation to %d", got.Generation)
	}
	if got := patch(`{"status":{"observedGeneration":1}}`, "status"); got.Generation != 1 {
		t.Errorf("a status raised the generation to %d", got.Generation)
	}
	before := patch(`{"spec":{"totalQPS":800}}`)
	if before.Generation != 2 {
		t.Errorf("generation = %d after a change of the spec, want 2", before.Generation)
	}
	if after := patch(`{"spec":{"totalQPS":800}}`); after.ResourceVersion != before.ResourceVersion {
		t.Error("a write that changes nothing was written")
	}
	_ = web
}

// Every kind of patch changes what it names, and the lists and maps of a template merge as those of a Deployment do.
func TestPatches(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	for kind, patch := range map[types.PatchType]string{
		types.JSONPatchType:           `[{"op":"add","path":"/spec/template/spec/containers/0/env/-","value":{"name":"B","value":"b"}}]`,
		types.MergePatchType:          `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"a"},{"name":"B","value":"b"}]}]}}}}`,
		types.StrategicMergePatchType: `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"B","value":"b"}]}]}}}}`,
		types.ApplyPatchType:          `{"apiVersion":"elasticweb.example.com/v1","kind":"ElasticWeb","spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"B","value":"b"}]}]}}}}`,
	} {
		web := sample("web")
		web.Spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Env: []corev1.EnvVar{{Name: "A", Value: "a"}}}}}}
		create(t, web)
		got, err := client.Patch(t.Context(), "web", kind, []byte(patch), metav1.PatchOptions{FieldManager: "other"})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		} else {
			names := ""
			for _, env := range got.Spec.Template.Spec.Containers[0].Env {
				names += env.Name
			}
			if len(got.Spec.Template.Spec.Containers) != 1 || len(names) != 2 || !strings.Contains(names, "A") || !strings.Contains(names, "B") {
				t.Errorf("%s: %+v, want one container with A and B", kind, got.Spec.Template.Spec.Containers)
			}
		}
		if err := client.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// What a generated apply configuration leaves out, it does not send: no list is set to null.
func TestApplyOfATemplateSendsNoNull(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	template := corev1ac.PodTemplateSpec().WithSpec(corev1ac.PodSpec().WithTerminationGracePeriodSeconds(5))
	web, err := client.Apply(t.Context(), applyv1.ElasticWeb("web", namespace(t)).WithSpec(applyv1.ElasticWebSpec().
		WithImage("nginx:1.17.1").WithSinglePodsQPS(800).WithTemplate(template)), metav1.ApplyOptions{FieldManager: "user"})
	if err != nil {
		t.Fatal(err)
	}
	owned, err := applyv1.ExtractElasticWeb(web, "user")
	if err != nil || !apiequality.Semantic.DeepEqual(owned.Spec.Template, template) {
		t.Errorf("owned is %+v (%v), want the template as applied", owned.Spec.Template, err)
	}
}

func TestMainAndStatusKeepToThemselves(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	web := create(t, sample("web"))

	web.Status.RealQPS = ptr.To[int64](1)
	web.Labels = map[string]string{"a": "b"}
	web, err := client.Update(t.Context(), web, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if web.Status.RealQPS != nil {
		t.Error("a write to the main resource changed the status")
	}

	web.Status.RealQPS, web.Status.Selector = ptr.To[int64](1600), "forged=true"
	web.Spec.TotalQPS = ptr.To[int32](1)
	web.Labels = map[string]string{"c": "d"}
	web.Annotations = map[string]string{"c": "d"}
	web.Finalizers = []string{"example.com/c"}
	web.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: "c"}}
	web, err = client.UpdateStatus(t.Context(), web, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if web.Status.RealQPS == nil || *web.Status.RealQPS != 1600 {
		t.Errorf("realQPS = %v, want 1600", web.Status.RealQPS)
	}
	if want := "elasticweb.example.com/name=web"; web.Status.Selector != want {
		t.Errorf("selector = %q, want %q: it is computed", web.Status.Selector, want)
	}
	if *web.Spec.TotalQPS != 2400 || web.Labels["a"] != "b" || web.Labels["c"] != "" || web.Annotations != nil ||
		web.Finalizers != nil || web.OwnerReferences != nil {
		t.Errorf("a write to the status changed more than the status: %+v", web)
	}
}

func TestABadStatusIsRefused(t *testing.T) {
	web := create(t, sample("web"))
	web.Status.ReadyReplicas = -1
	web.Status.Conditions = append(web.Status.Conditions, metav1.Condition{Type: "Bad"})
	_, err := server.web.ElasticWebs(web.Namespace).UpdateStatus(t.Context(), web, metav1.UpdateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("error = %v, want a 422", err)
	}
}

// Whoever applies a whole object must not come to own what the write cannot change, even where it says what is there.
func TestApplyOwnsOnlyWhatItCanChange(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	web := create(t, sample("web"))
	web.Labels = map[string]string{"a": "b"}
	web, err := client.Update(t.Context(), web, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	web.Status.RealQPS = ptr.To[int64](1600)
	if _, err := client.UpdateStatus(t.Context(), web, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	whole := applyv1.ElasticWeb("web", namespace(t)).
		WithLabels(map[string]string{"a": "b"}).
		WithSpec(applyv1.ElasticWebSpec().WithImage("nginx:1.17.1")).
		WithStatus(applyv1.ElasticWebStatus().WithRealQPS(1600).WithSelector(web.Status.Selector))

	web, err = client.Apply(t.Context(), whole, metav1.ApplyOptions{FieldManager: "user", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	owned, err := applyv1.ExtractElasticWeb(web, "user")
	if err != nil {
		t.Fatal(err)
	}
	if owned.Status != nil || owned.Spec == nil || owned.Spec.Image == nil || owned.Labels["a"] != "b" {
		t.Errorf("an apply of the main resource owns %+v, want spec and labels, and no status", owned)
	}

	web, err = client.ApplyStatus(t.Context(), whole, metav1.ApplyOptions{FieldManager: "controller", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	owned, err = applyv1.ExtractElasticWebStatus(web, "controller")
	if err != nil {
		t.Fatal(err)
	}
	if owned.Spec != nil || owned.Labels != nil || owned.Status == nil || owned.Status.RealQPS == nil || owned.Status.Selector != nil {
		t.Errorf("an apply of the status owns %+v, want the status without what is computed", owned)
	}
}

func TestFieldSelectors(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	create(t, sample("a"))
	b := sample("b")
	b.Spec.Port, b.Spec.Image = ptr.To[int32](30004), "httpd"
	create(t, b)

	for selector, want := range map[string]string{
		"spec.port=30004":   "b",
		"spec.image=httpd":  "b",
		"metadata.name=a":   "a",
		"spec.port!=30004":  "a",
		"spec.image!=httpd": "a",
	} {
		list, err := client.List(t.Context(), metav1.ListOptions{FieldSelector: selector})
		if err != nil {
			t.Errorf("%s: %v", selector, err)
			continue
		}
		if len(list.Items) != 1 || list.Items[0].Name != want {
			t.Errorf("%s selects %d objects, want only %s", selector, len(list.Items), want)
		}
	}
	if _, err := client.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.totalQPS=1"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a selector that is not supported: %v, want a 400 that lists the ones that are", err)
	}
}
