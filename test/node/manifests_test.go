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

// kubeconform is built where it is used: nothing else needs it.
const kubeconform = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"

// The manifests are what a server that knows every kind of them accepts, to the last field; and what its published schemas do.
func TestTheManifestsAreValid(t *testing.T) {
	schemas := publishedSchemas(t)
	for overlay, namespace := range map[string]string{
		"registration": "elasticweb-system", "base": "elasticweb-system", "base-restore": "elasticweb-system", "ha": "elasticweb-system", "etcd": "elasticweb-etcd", "etcd-restore": "elasticweb-etcd",
	} {
		manifests := node.Kubectl(t, "kustomize", filepath.Join(cluster.Root, "artifacts", "deploy", overlay))
		// Its namespace, or nothing can be tried in it.
		node.Kubectl(t, "create", "namespace", namespace)
		node.Kubectl(t, "label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")
		output, errors, err := node.TryKubectl(t, manifests, "apply", "--dry-run=server", "--validate=strict", "-f", "-")
		node.Kubectl(t, "delete", "namespace", namespace, "--timeout=60s")
		// Of a Pod's owner, PodSecurity only warns.
		if err != nil || strings.Contains(errors, "would violate") {
			t.Errorf("%s: %v\n%s%s", overlay, err, output, errors)
		}
		if output, err := conform(t, schemas, manifests); err != nil {
			t.Errorf("%s: %v\n%s", overlay, err, output)
		}
	}
	freeze, err := os.ReadFile(filepath.Join(cluster.Root, "artifacts", "deploy", "freeze.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if output, err := conform(t, schemas, string(freeze)); err != nil {
		t.Errorf("freeze.yaml: %v\n%s", err, output)
	}
	if _, err := conform(t, schemas, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "sepc": {}}`); err == nil {
		t.Error("a misspelt field is found valid")
	}
}

func conform(t *testing.T, schemas, manifests string) (output string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "run", kubeconform, "-summary",
		"-schema-location", filepath.Join(schemas, "{{ .ResourceKind }}{{ .KindSuffix }}.json"))
	command.Stdin = strings.NewReader(manifests)
	text, err := command.CombinedOutput()
	return string(text), err
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
		write := func(file string, content any) {
			t.Helper()
			text, err := json.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, strings.ToLower(file)), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(all, document)
		for name, schema := range document.Components.Schemas {
			kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
			for _, kind := range kinds {
				of := kind.(map[string]any)
				group, _, _ := strings.Cut(of["group"].(string), ".")
				file := strings.Trim(fmt.Sprintf("%s-%s", of["kind"], group), "-") + "-" + of["version"].(string) + ".json"
				write(file, map[string]any{"$ref": "file://" + filepath.Join(dir, all) + "#/components/schemas/" + name})
			}
		}
	}
	return dir
}
