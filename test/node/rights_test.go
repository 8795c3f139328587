package node

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"

	"elasticweb.example.com/test/cluster"
)

// unused are rights that this run does not use, with the reason why they are granted. (So is each right to list what is watched: this
// host begins a watch with a list, and others do not.)
var unused = map[string]string{
	"update elasticwebs.elasticweb.example.com/finalizers": "OpenShift's admission asks for it",
	"update resourcequotas/status":                         "with a ResourceQuota that counts ElasticWebs",
	"get deployments.apps":                                 "a child that is there, and not in the cache",
	"get services":                                         "a child that is there, and not in the cache",
	"get namespaces":                                       "a namespace that is not in the cache of admission",
	"patch events":                                         "an Event that repeats",
}

// What the server is granted is what it uses in a run with all that it does: nothing more, no wildcard, and no Secret but its own.
func TestTheRightsAreLeast(t *testing.T) {
	// Whoever deletes the server together with its rights has it refused on its way down: not what this test is about.
	begin := auditSize(t)
	t.Cleanup(func() { undeploy(t) })
	deploy(t)
	ns := node.Namespace(t)
	// A new process, whose certificates are renewed within seconds once the one that is there has gone.
	node.Kubectl(t, "patch", "statefulset", "-n", "elasticweb-system", "elasticweb-apiserver", "--type=json", "-p",
		`[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--serving-cert-lifetime=10s"}]`)
	node.Kubectl(t, "rollout", "status", "-n", "elasticweb-system", "statefulset/elasticweb-apiserver", "--timeout=60s")
	node.Kubectl(t, "wait", "apiservice/v1.elasticweb.example.com", "--for=condition=Available", "--timeout=60s")
	node.Kubectl(t, "delete", "secret", "-n", "elasticweb-system", "elasticweb-apiserver-serving-cert")
	apply(t, sample(t, ns))
	awaitReady(t, ns, "elasticweb-sample")
	node.Kubectl(t, "patch", "ew", "-n", ns, "elasticweb-sample", "--type=merge", "-p", `{"spec":{"totalQPS":1600}}`)
	awaitReady(t, ns, "elasticweb-sample")
	used, refused := sets.New[string](), sets.New[string]()
	cluster.Eventually(t, "a renewal of the certificate", func(context.Context) (bool, string) {
		used, refused = requests(t, begin)
		return used.Has("update secrets elasticweb-system/elasticweb-apiserver-serving-cert"), "none"
	})
	for _, request := range sets.List(refused) {
		t.Errorf("refused: %s", request)
	}
	for _, right := range granted(t) {
		verb, of, _ := strings.Cut(right, " ")
		watched := verb == "list" && used.Has("watch "+of)
		if _, known := unused[right]; !known && !watched && !used.Has(right) {
			t.Errorf("granted, and not used: %s", right)
		}
		if strings.Contains(right, "*") || strings.Contains(right, "secrets") && !strings.HasPrefix(right, "create ") && !strings.Contains(right, "elasticweb-apiserver-serving-cert") {
			t.Errorf("too much: %s", right)
		}
	}
}

func auditLog() string { return filepath.Join(node.State, "logs", "audit.log") }

func auditSize(t testing.TB) int64 {
	t.Helper()
	info, err := os.Stat(auditLog())
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// requests are those that the server has made since, and those that it had no right to make: the verb, the resource and, if the
// request has one, the object.
func requests(t testing.TB, since int64) (made, refused sets.Set[string]) {
	t.Helper()
	log, err := os.ReadFile(auditLog())
	if err != nil {
		t.Fatal(err)
	}
	made, refused = sets.New[string](), sets.New[string]()
	for line := range strings.Lines(string(log[since:])) {
		var event struct {
			Verb      string
			ObjectRef struct {
				Resource, Subresource, APIGroup, Namespace, Name string
			}
			ResponseStatus struct{ Code int }
			Annotations    map[string]string
		}
		// The last line may not be complete.
		if json.Unmarshal([]byte(line), &event) != nil || event.ObjectRef.Resource == "" {
			continue
		}
		ref := event.ObjectRef
		verbs := []string{event.Verb}
		if event.Verb == "patch" && event.ResponseStatus.Code == 201 {
			// Server-side apply of what was not there needs both.
			verbs = append(verbs, "create")
		}
		for _, verb := range verbs {
			request := verb + " " + resource(ref.APIGroup, ref.Resource, ref.Subresource)
			made.Insert(request)
			if ref.Name != "" {
				made.Insert(request + " " + strings.TrimPrefix(ref.Namespace+"/"+ref.Name, "/"))
			}
			if event.Annotations["authorization.k8s.io/decision"] == "forbid" {
				refused.Insert(request)
			}
		}
	}
	return made, refused
}

func resource(group, resource, subresource string) string {
	if group != "" {
		resource += "." + group
	}
	if subresource != "" {
		resource += "/" + subresource
	}
	return resource
}

// granted are the rights that the manifests give to the server, in the words of requests.
func granted(t testing.TB) (rights []string) {
	t.Helper()
	manifests := node.Kubectl(t, "kustomize", filepath.Join(cluster.Root, "artifacts", "deploy", "base"))
	for manifest := range strings.SplitSeq(manifests, "\n---\n") {
		// A Role and a ClusterRole are alike.
		var role rbacv1.Role
		if err := yaml.Unmarshal([]byte(manifest), &role); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(role.Kind, "Role") || role.Name != "elasticweb-apiserver" {
			continue
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, name := range rule.Resources {
					base, sub, _ := strings.Cut(name, "/")
					for _, verb := range rule.Verbs {
						right := verb + " " + resource(group, base, sub)
						for _, object := range rule.ResourceNames {
							rights = append(rights, right+" "+strings.TrimPrefix(role.Namespace+"/"+object, "/"))
						}
						if len(rule.ResourceNames) == 0 {
							rights = append(rights, right)
						}
					}
				}
			}
		}
	}
	return rights
}
