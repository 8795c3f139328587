package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/apiserver"
)

const (
	asJSON     = "application/json"
	asYAML     = "application/yaml"
	asProtobuf = "application/vnd.kubernetes.protobuf"
)

// encoded is the sample as a client sends it.
func encoded(t *testing.T, mediaType string) []byte {
	t.Helper()
	info, ok := runtime.SerializerInfoForMediaType(apiserver.Codecs.SupportedMediaTypes(), mediaType)
	if !ok {
		t.Fatalf("no serializer for %s", mediaType)
	}
	body, err := runtime.Encode(apiserver.Codecs.EncoderForVersion(info.Serializer, v1.SchemeGroupVersion), sample("web"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// Whatever is sent is answered with a 4xx that says why, and nothing is stored.
func TestBodiesThatAreNoObject(t *testing.T) {
	type body struct {
		name, contentType string
		data              []byte
		wantCode          int
		want              string
	}
	valid := string(encoded(t, asJSON))
	with := func(old, new string) []byte {
		if !strings.Contains(valid, old) {
			t.Fatalf("the sample has no %s: %s", old, valid)
		}
		return []byte(strings.Replace(valid, old, new, 1))
	}
	tests := []body{
		{"empty", asJSON, nil, 400, ""},
		{"no object", asJSON, []byte(`[]`), 400, ""},
		{"null", asJSON, []byte(`null`), 422, "metadata.name"},
		{"another kind", asJSON, with(`"kind":"ElasticWeb"`, `"kind":"Other"`), 400, "Other"},
		{"another version", asJSON, with(`elasticweb.example.com/v1`, `elasticweb.example.com/v2`), 400, "v2"},
		{"a list in place of a string", asJSON, with(`"nginx:1.17.1"`, `["nginx"]`), 400, "image"},
		{"a fraction", asJSON, with(`"singlePodsQPS":800`, `"singlePodsQPS":0.5`), 400, "singlePodsQPS"},
		{"a number beyond int32", asJSON, with(`"singlePodsQPS":800`, `"singlePodsQPS":2147483648`), 400, "singlePodsQPS"},
		{"a field twice", asJSON, with(`"singlePodsQPS":800`, `"singlePodsQPS":800,"singlePodsQPS":1`), 400, `duplicate field "spec.singlePodsQPS"`},
		{"an unknown field", asJSON, with(`"singlePodsQPS":800`, `"singlePodsQPS":800,"x":1`), 400, `unknown field "spec.x"`},
		{"invalid UTF-8", asJSON, with(`nginx:1.17.1`, "nginx\xff"), 422, "spec.image"},
		{"1.5 million brackets", asJSON, with(`"nginx:1.17.1"`, strings.Repeat("[", 1_500_000)), 400, ""},
		{"1.5 million braces", asJSON, []byte(strings.Repeat(`{"a":`, 300_000)), 400, ""},
		{"brackets in YAML", asYAML, []byte("apiVersion: elasticweb.example.com/v1\nkind: ElasticWeb\nspec: " + strings.Repeat("[", 100_000)), 400, ""},
		{"a YAML that multiplies", asYAML, []byte("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n"), 400, ""},
		{"wrong types in YAML", asYAML, []byte("apiVersion: elasticweb.example.com/v1\nkind: ElasticWeb\nmetadata: {name: web}\nspec: {image: [1], singlePodsQPS: x}\n"), 400, ""},
		{"a body of 3 MiB and a byte", asJSON, with(`nginx:1.17.1`, strings.Repeat("n", 3<<20+1-len(valid)+len("nginx:1.17.1"))), 413, "limit is 3145728"},
		{"an object over 1 MiB", asJSON, with(`"spec":{`, `"spec":{"template":{"spec":{"containers":[{"name":"web","args":["`+strings.Repeat("a", 1<<20)+`"]}]}},`), 413, "may be 1048576"},
		{"no content type that we know", "text/plain", []byte(valid), 415, "application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"a content type that is none", "application/json; charset", []byte(valid), 415, ""},
		{"JSON said to be protobuf", asProtobuf, []byte(valid), 400, ""},
		{"protobuf of nothing", asProtobuf, []byte("k8s\x00"), 400, ""},
		{"protobuf with a length beyond its end", asProtobuf, append([]byte("k8s\x00\x0a\x02\x0a\x00\x12\xff\xff\xff\xff\x0f"), 1, 2, 3), 400, ""},
	}
	for _, mediaType := range []string{asJSON, asYAML, asProtobuf} {
		whole := encoded(t, mediaType)
		for _, part := range []int{1, 5, len(whole) / 3, len(whole) / 2, len(whole) - 3} {
			if mediaType == asYAML && part >= len(whole)/2 {
				continue // Cut there, a YAML is another one, and whole.
			}
			tests = append(tests, body{fmt.Sprintf("%s cut after %d bytes", mediaType, part), mediaType, whole[:part], 0, ""})
		}
	}
	ns := namespace(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, answer := request(t, http.MethodPost, collection(ns)+"?fieldValidation=Strict", tt.contentType, asJSON, tt.data)
			var status metav1.Status
			if err := json.Unmarshal(answer, &status); err != nil {
				t.Fatalf("the answer to it (%d) is no Status: %.200s", code, answer)
			}
			if code < 400 || code >= 500 || tt.wantCode != 0 && code != tt.wantCode || !strings.Contains(status.Message, tt.want) {
				t.Errorf("%d %.300s, want %d with %q", code, status.Message, tt.wantCode, tt.want)
			}
		})
	}
	if n := stored(t, prefix+ns, clientv3.WithPrefix(), clientv3.WithCountOnly()).Count; n != 0 {
		t.Errorf("%d objects were stored, want none", n)
	}
}

func TestRequestsAgainstAStoredObject(t *testing.T) {
	ns := namespace(t)
	web := create(t, sample("web"))
	create(t, sample("other"))
	var list metav1.PartialObjectMetadataList
	_, answer := request(t, http.MethodGet, collection(ns)+"?limit=1", "", asJSON, nil)
	if err := json.Unmarshal(answer, &list); err != nil || list.Continue == "" {
		t.Fatalf("no continue token: %v", err)
	}
	before := stored(t, prefix+ns, clientv3.WithPrefix())
	operations := strings.Repeat(`{"op":"add","path":"/metadata/labels","value":{}},`, 10_000) + `{"op":"add","path":"/metadata/labels","value":{}}`
	stale := bytes.Replace(encoded(t, asJSON), []byte(`"name":"web"`), []byte(`"name":"web","resourceVersion":"1","labels":{"a":"b"}`), 1)
	foreign := bytes.Replace(encoded(t, asJSON), []byte(`"name":"web"`), []byte(`"name":"web","uid":"another","labels":{"a":"b"}`), 1)
	for _, tt := range []struct {
		name, method, path, contentType, body string
		wantCode                              int
	}{
		{"10,001 operations", "PATCH", "/web", string(types.JSONPatchType), "[" + operations + "]", 413},
		{"a patch that is none", "PATCH", "/web", string(types.MergePatchType), `{`, 400},
		{"a patch of an unknown kind", "PATCH", "/web", "application/x-patch", `{}`, 415},
		{"a patch to what is refused", "PATCH", "/web", string(types.MergePatchType), `{"spec":{"singlePodsQPS":0}}`, 422},
		{"a patch that moves what is not there", "PATCH", "/web", string(types.JSONPatchType), `[{"op":"move","from":"/spec/x","path":"/spec/image"}]`, 422},
		{"an apply without a manager", "PATCH", "/web", string(types.ApplyPatchType), `{}`, 422},
		{"an apply that is no YAML", "PATCH", "/web?fieldManager=a", string(types.ApplyPatchType), `{`, 400},
		{"a stale resourceVersion", "PUT", "/web", asJSON, string(stale), 409},
		{"the UID of another", "PUT", "/web", asJSON, string(foreign), 409},
		{"another name than in the path", "PUT", "/other", asJSON, string(encoded(t, asJSON)), 400},
		{"one that is not there", "PUT", "/none", asJSON, strings.Replace(string(encoded(t, asJSON)), `"name":"web"`, `"name":"none"`, 1), 404},
		{"one that is there", "POST", "", asJSON, string(encoded(t, asJSON)), 409},
		{"a deletion of another UID", "DELETE", "/web", asJSON, `{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"another"}}`, 409},
		{"a continue token of another list", "GET", "?limit=1&fieldSelector=metadata.name%3Dweb&continue=" + strings.Repeat("A", 40), "", "", 400},
		{"a watch from no version", "GET", "?watch=1&resourceVersion=x", "", "", 400},
		{"a list of no version", "GET", "?resourceVersion=x", "", "", 400},
		{"a status of no version", "GET", "/web/status?resourceVersion=x", "", "", 400},
		{"a scale of no version", "GET", "/web/scale?resourceVersion=x", "", "", 400},
		{"one of no version", "GET", "/web?resourceVersion=x", "", "", 400},
		{"a limit that is none", "GET", "?limit=x", "", "", 400},
		{"a selector that is none", "GET", "?labelSelector=a%3D%3D%3D", "", "", 400},
		{"a method that is none", "TRACE", "/web", "", "", 405},
		{"a scale that is none", "PUT", "/web/scale", asJSON, `{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"web"},"spec":{"replicas":"x"}}`, 400},
		{"a scale beyond int32", "PATCH", "/web/scale", string(types.MergePatchType), `{"spec":{"replicas":4294967296}}`, 422},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, answer := request(t, tt.method, collection(ns)+tt.path, tt.contentType, asJSON, []byte(tt.body))
			if code != tt.wantCode {
				t.Errorf("%d %.300s, want %d", code, answer, tt.wantCode)
			}
		})
	}
	if after := stored(t, prefix+ns, clientv3.WithPrefix()); len(after.Kvs) != 2 || !bytes.Equal(after.Kvs[1].Value, before.Kvs[1].Value) || after.Kvs[1].ModRevision != before.Kvs[1].ModRevision {
		t.Error("something was stored")
	}
	_ = web
}

func TestAnObjectJustBelowTheLimitIsStored(t *testing.T) {
	web := sample("web")
	create(t, web)
	size := func() int { return len(stored(t, prefix+namespace(t)+"/web").Kvs[0].Value) }
	patch := func(n int) int {
		body := `{"metadata":{"annotations":{"a":"` + strings.Repeat("a", 200<<10) + `"}},"spec":{"template":{"spec":{"containers":[{"name":"web","args":["` + strings.Repeat("a", n) + `"]}]}}}}`
		code, _ := request(t, http.MethodPatch, collection(namespace(t))+"/web?fieldManager=test", string(types.MergePatchType), asJSON, []byte(body))
		return code
	}
	const most = 1 << 20
	if code := patch(most - 210<<10); code != http.StatusOK {
		t.Fatalf("%d for an object well below 1 MiB", code)
	}
	rest := most - size()
	if code := patch(most - 210<<10 + rest); code != http.StatusOK || size() != most {
		t.Errorf("%d for an object of 1 MiB; stored are %d bytes", code, size())
	}
	if code := patch(most - 210<<10 + rest + 1); code != http.StatusRequestEntityTooLarge || size() != most {
		t.Errorf("%d for an object of 1 MiB and a byte, want 413; stored are %d bytes", code, size())
	}

	// What could be stored can be reported on, and can go.
	client := server.web.ElasticWebs(namespace(t))
	if _, err := client.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"status":{"observedGeneration":9}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("a status of an object of 1 MiB: %v", err)
	}
	// What is too large now may shrink.
	if code := patch(most - 210<<10 + rest - 5); code != http.StatusOK || size() <= most {
		t.Errorf("%d for an object of 1 MiB and a status that shrinks by five bytes to %d, want it stored", code, size())
	}
	if err := client.Delete(t.Context(), "web", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"finalizers":null,"annotations":{"b":"`+strings.Repeat("b", 1<<10)+`"}}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("an object of 1 MiB cannot be deleted: %v", err)
	}
}

// The limit is one of what is stored, not of what is sent.
func TestTheLimitJudgesWhatIsStored(t *testing.T) {
	client := server.web.ElasticWebs(namespace(t))
	long := strings.Repeat("a", 900<<10)
	web := sample("web")
	web.Status.Selector = strings.Repeat("a", 2<<20)
	web, err := client.Create(t.Context(), web, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("a status that is not stored: %v", err)
	}
	web.Spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Args: []string{long}}}}}
	if web, err = client.Update(t.Context(), web, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	web.Spec.Template = nil
	for i := range 40 {
		web.Status.Conditions = append(web.Status.Conditions, metav1.Condition{
			Type: fmt.Sprintf("C%d", i), Status: metav1.ConditionTrue, Reason: "R", Message: strings.Repeat("m", 30<<10), LastTransitionTime: metav1.Now(),
		})
	}
	if _, err := client.UpdateStatus(t.Context(), web, metav1.UpdateOptions{}); !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("1.2 MiB of status beside 0.9 MiB of spec: %v, want a 413", err)
	}
}
