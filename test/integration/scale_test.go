package integration

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	applyv1 "elasticweb.example.com/pkg/generated/applyconfiguration/elasticweb/v1"
)

// Twenty points of the grid that the unit test covers.
func TestScaleReadsBackOverHTTP(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	points := 0
	for _, web := range []struct{ single, utilization int32 }{{1, 100}, {3, 50}, {7, 33}, {800, 75}, {2147483, 99}} {
		name := fmt.Sprintf("web-%d-%d", web.single, web.utilization)
		object := sample(name)
		object.Spec.Port = nil
		object.Spec.SinglePodsQPS, object.Spec.TargetUtilizationPercentage = &web.single, &web.utilization
		// The limits act on the Deployment, not on the demand.
		object.Spec.MinReplicas, object.Spec.MaxReplicas = ptr.To[int32](2), ptr.To[int32](3)
		create(t, object)
		for _, n := range []int32{0, 1, 333, 1000} {
			scale, err := client.GetScale(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			scale.Spec.Replicas = n
			if _, err := client.UpdateScale(t.Context(), name, scale, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if scale, err = client.GetScale(t.Context(), name, metav1.GetOptions{}); err != nil || scale.Spec.Replicas != n {
				t.Errorf("%s: %d replicas read back as %d (%v)", name, n, scale.Spec.Replicas, err)
			}
			stored, err := client.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if want := int64(n) * int64(web.single) * int64(web.utilization) / 100; int64(*stored.Spec.TotalQPS) != want {
				t.Errorf("%s: totalQPS = %d after scale to %d, want %d", name, *stored.Spec.TotalQPS, n, want)
			}
			points++
		}
	}
	if points != 20 {
		t.Errorf("%d points, want 20", points)
	}
}

func TestScale(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	web := sample("web")
	web.Spec.TotalQPS = ptr.To[int32](2399)
	web = create(t, web)
	web.Status.Replicas = 7
	if _, err := client.UpdateStatus(t.Context(), web, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}

	before, err := client.GetScale(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if before.Spec.Replicas != 3 || before.Status.Replicas != 7 || before.Status.Selector != v1.SelectorFor("web") || before.UID != web.UID || len(before.ManagedFields) != 0 {
		t.Errorf("scale = %+v, want the demand of 3, 7 observed, the selector, and nothing of the managers", before)
	}
	// Three is what it is: the load that the user gave stays, and nothing is written.
	after, err := client.UpdateScale(t.Context(), "web", before.DeepCopy(), metav1.UpdateOptions{})
	if err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("a scale that changes nothing was written: %v", err)
	}
	if web, err = client.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || *web.Spec.TotalQPS != 2399 || web.Generation != 1 {
		t.Errorf("totalQPS, generation = %d, %d (%v), want 2399, 1", *web.Spec.TotalQPS, web.Generation, err)
	}

	stale := before.DeepCopy()
	before.Spec.Replicas = 5
	if _, err := client.UpdateScale(t.Context(), "web", before, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if web, err = client.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || *web.Spec.TotalQPS != 4000 || web.Generation != 2 || web.Status.Replicas != 7 {
		t.Errorf("%+v (%v), want totalQPS 4000 in generation 2 and the status as it was", web, err)
	}
	stale.Spec.Replicas = 6
	if _, err := client.UpdateScale(t.Context(), "web", stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a stale resourceVersion: %v, want a 409", err)
	}
	other := stale.DeepCopy()
	other.ResourceVersion, other.UID = "", "another"
	if _, err := client.UpdateScale(t.Context(), "web", other, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("another UID: %v, want a 409", err)
	}
	if _, err := client.GetScale(t.Context(), "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the scale of none: %v, want a 404", err)
	}
	code, answer := request(t, http.MethodPatch, collection(namespace(t))+"/web/scale", string(types.MergePatchType), "application/json", []byte(`{"metadata":{"uid":"another"},"spec":{"replicas":6}}`))
	if code != http.StatusConflict {
		t.Errorf("another UID in a patch: %d %s, want a 409", code, answer)
	}
	missing := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "none", Namespace: namespace(t)}, Spec: autoscalingv1.ScaleSpec{Replicas: 1}}
	if _, err := client.UpdateScale(t.Context(), "none", missing, metav1.UpdateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("scaling none: %v, want a 404", err)
	}

	// Every kind of patch, as for a Deployment.
	for kind, patch := range map[types.PatchType]string{
		types.MergePatchType:          `{"spec":{"replicas":2}}`,
		types.JSONPatchType:           `[{"op":"replace","path":"/spec/replicas","value":4}]`,
		types.StrategicMergePatchType: `{"spec":{"replicas":6}}`,
	} {
		if _, err := client.Patch(t.Context(), "web", kind, []byte(patch), metav1.PatchOptions{}, "scale"); err == nil {
			t.Errorf("%s: the clientset decodes a Scale as an ElasticWeb?", kind)
		}
		code, answer := request(t, http.MethodPatch, collection(namespace(t))+"/web/scale", string(kind), "application/json", []byte(patch))
		var scale autoscalingv1.Scale
		if err := json.Unmarshal(answer, &scale); err != nil || code != http.StatusOK || !strings.Contains(patch, fmt.Sprint(scale.Spec.Replicas)) {
			t.Errorf("%s: %d %s", kind, code, answer)
		}
	}
}

func TestScaleRefuses(t *testing.T) {
	web := sample("web")
	web.Spec.SinglePodsQPS = ptr.To[int32](2)
	web = create(t, web)
	for _, tt := range []struct {
		replicas int32
		want     string
	}{
		{-1, "spec.replicas: Invalid value: -1: must be 0 or more"},
		{math.MaxInt32, "spec.replicas: Invalid value: 2147483647: must be at most 1073741823"},
		{1 << 30, "must be at most 1073741823"},
	} {
		_, err := server.web.ElasticWebs(web.Namespace).UpdateScale(t.Context(), "web",
			&autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: web.Namespace}, Spec: autoscalingv1.ScaleSpec{Replicas: tt.replicas}}, metav1.UpdateOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("scale to %d: %v, want a 422 with %q", tt.replicas, err, tt.want)
		}
	}
	now, err := server.web.ElasticWebs(web.Namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || now.ResourceVersion != web.ResourceVersion {
		t.Errorf("something was stored: %+v (%v)", now, err)
	}
}

// Who scales owns spec.totalQPS, so that who applies it again is told of the conflict.
func TestScaleMovesOwnership(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	whole := applyv1.ElasticWeb("web", namespace(t)).WithSpec(applyv1.ElasticWebSpec().WithImage("nginx:1.17.1").WithSinglePodsQPS(800).WithTotalQPS(2400))
	if _, err := client.Apply(t.Context(), whole, metav1.ApplyOptions{FieldManager: "user"}); err != nil {
		t.Fatal(err)
	}
	scale, err := client.GetScale(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.Spec.Replicas = 5
	if _, err := client.UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{FieldManager: "autoscaler"}); err != nil {
		t.Fatal(err)
	}
	web, err := client.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owners := func() (owners []string) {
		for _, entry := range web.ManagedFields {
			if strings.Contains(string(entry.FieldsV1.GetRawBytes()), "f:totalQPS") {
				owners = append(owners, entry.Manager+" "+entry.APIVersion)
			}
		}
		return owners
	}
	if got := owners(); !slices.Equal(got, []string{"autoscaler elasticweb.example.com/v1"}) {
		t.Errorf("totalQPS is owned by %q, want by the autoscaler alone: %+v", got, web.ManagedFields)
	}
	_, err = client.Apply(t.Context(), whole, metav1.ApplyOptions{FieldManager: "user"})
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".spec.totalQPS") || !strings.Contains(err.Error(), "autoscaler") {
		t.Errorf("applying totalQPS again: %v, want a conflict with the autoscaler", err)
	}
	// Without totalQPS, an apply leaves the autoscaler alone.
	whole.Spec.TotalQPS = nil
	if web, err = client.Apply(t.Context(), whole, metav1.ApplyOptions{FieldManager: "user"}); err != nil || *web.Spec.TotalQPS != 4000 {
		t.Errorf("totalQPS = %v (%v), want 4000", web.Spec.TotalQPS, err)
	}
}

func TestScaleInDiscovery(t *testing.T) {
	list := get[metav1.APIResourceList](t, "/apis/elasticweb.example.com/v1", "application/json")
	for _, resource := range list.APIResources {
		if resource.Name == "elasticwebs/scale" {
			if resource.Group != "autoscaling" || resource.Version != "v1" || resource.Kind != "Scale" || !slices.Equal(resource.Verbs, []string{"get", "patch", "update"}) {
				t.Errorf("elasticwebs/scale = %+v", resource)
			}
			return
		}
	}
	t.Error("elasticwebs/scale is not in discovery")
}
