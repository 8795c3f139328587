package node

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"elasticweb.example.com/test/cluster"
)

// kubeconform is built for the test alone: nothing else needs it.
const kubeconform = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"

// The manifests are what a server that knows every kind of them accepts, to the last field; and what its published schemas do.
func TestTheManifestsAreValid(t *testing.T) {
	conform := newConform(t)
	etcdIsGone(t)
	check := func(name, manifests string) {
		t.Helper()
		if output, err := conform(manifests); err != nil {
			t.Errorf("%s: %v\n%s", name, err, output)
		}
		output, errors, err := node.TryKubectl(t, manifests, "apply", "--dry-run=server", "--validate=strict", "-f", "-")
		// Of a Pod's owner, PodSecurity only warns.
		if err != nil || strings.Contains(errors, "would violate") {
			t.Errorf("%s: %v\n%s%s", name, err, output, errors)
		}
	}
	folder := filepath.Join(cluster.Root, "artifacts", "deploy")
	for namespace, overlays := range map[string][]string{
		"elasticweb-system": {"registration", "base", "base-restore", "ha"}, "elasticweb-etcd": {"etcd", "etcd-restore"},
	} {
		// Without it nothing can be tried in it.
		node.Kubectl(t, "create", "namespace", namespace)
		node.Kubectl(t, "label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")
		for _, overlay := range overlays {
			check(overlay, node.Kubectl(t, "kustomize", filepath.Join(folder, overlay)))
		}
		node.Kubectl(t, "delete", "namespace", namespace, "--wait=false")
	}
	node.Kubectl(t, "wait", "--for=delete", "namespace/elasticweb-system", "--timeout=60s")
	freeze, err := os.ReadFile(filepath.Join(folder, "freeze.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	check("freeze.yaml", string(freeze))
	if _, err := conform(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "sepc": {}}`); err == nil {
		t.Error("a misspelt field is found valid")
	}
}

// newConform returns kubeconform, which knows what the cluster publishes.
func newConform(t *testing.T) func(manifests string) (output string, err error) {
	t.Helper()
	bin, schemas := t.TempDir(), publishedSchemas(t)
	install := exec.CommandContext(t.Context(), "go", "install", kubeconform)
	install.Env = append(os.Environ(), "GOBIN="+bin)
	if output, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return func(manifests string) (string, error) {
		command := exec.CommandContext(t.Context(), filepath.Join(bin, "kubeconform"), "-summary",
			"-schema-location", filepath.Join(schemas, "{{ .ResourceKind }}{{ .KindSuffix }}.json"))
		command.Stdin = strings.NewReader(manifests)
		output, err := command.CombinedOutput()
		return string(output), err
	}
}

// publishedSchemas writes the schema of each kind of the cluster, in which what it does not name is an error.
func publishedSchemas(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var index struct{ Paths map[string]any }
	read := func(path string, into any) {
		t.Helper()
		if err := json.Unmarshal([]byte(node.Kubectl(t, "get", "--raw", path)), into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	read("/openapi/v3", &index)
	for path := range index.Paths {
		if path != "api/v1" && !strings.HasPrefix(path, "apis/") {
			continue
		}
		var document struct {
			Components struct {
				Schemas map[string]map[string]any `json:"schemas"`
			} `json:"components"`
		}
		read("/openapi/v3/"+path, &document)
		for _, schema := range document.Components.Schemas {
			if _, open := schema["additionalProperties"]; !open && schema["properties"] != nil {
				schema["additionalProperties"] = false
			}
		}
		all := strings.ReplaceAll(path, "/", "_") + "_.json"
		writeJSON(t, filepath.Join(dir, all), document)
		for name, schema := range document.Components.Schemas {
			kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
			for _, kind := range kinds {
				of := kind.(map[string]any)
				group, _, _ := strings.Cut(of["group"].(string), ".")
				file := strings.Trim(fmt.Sprintf("%s-%s", of["kind"], group), "-") + "-" + of["version"].(string) + ".json"
				writeJSON(t, filepath.Join(dir, strings.ToLower(file)), map[string]any{"$ref": "file://" + filepath.Join(dir, all) + "#/components/schemas/" + name})
			}
		}
	}
	return dir
}

func writeJSON(t *testing.T, file string, content any) {
	t.Helper()
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
