package upgrade

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/test/cluster"
)

const server = "elasticweb-apiserver"

var plane *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Run(m, func(c *cluster.Cluster) { plane = c }))
}

// releases are the folders of testdata.
func releases(t *testing.T) []string {
	t.Helper()
	folders, err := filepath.Glob("testdata/issue-*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	return folders
}

// A server of today begins with the data of yesterday: each object is as it was served, under its UID, and is reconciled.
func TestWhatEarlierReleasesStoredIsServed(t *testing.T) {
	plane.Kubectl(t, "create", "namespace", "dev")
	for _, folder := range releases(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			beginWith(t, filepath.Join(folder, "snapshot.db"))
			before := objects(t, folder)
			for i := range before {
				was := &before[i]
				compare(t, was)
				// It says that it is Ready, as it did: its Deployment is looked for.
				plane.Kubectl(t, "wait", "deployment/"+was.GetName(), "-n", was.GetNamespace(), "--for=create", "--timeout=60s")
				plane.Kubectl(t, "patch", "ew/"+was.GetName(), "-n", was.GetNamespace(), "--type=merge", "-p", `{"spec":{"totalQPS":1600}}`)
				plane.Kubectl(t, "wait", "ew/"+was.GetName(), "-n", was.GetNamespace(), "--for=condition=Ready", "--timeout=60s")
				// The next release has a namesake of it.
				plane.Kubectl(t, "delete", "ew/"+was.GetName(), "-n", was.GetNamespace(), "--cascade=foreground", "--timeout=60s")
			}
			if len(before) == 0 {
				t.Error("no objects")
			}
		})
	}
}

// beginWith starts the server anew, with the data of a snapshot, as in a cluster in which it never ran.
func beginWith(t *testing.T, snapshot string) {
	t.Helper()
	plane.Halt(t, server)
	cluster.Eventually(t, "the server to have ended", func(ctx context.Context) (bool, string) {
		_, err := plane.Web.ElasticwebV1().ElasticWebs("dev").List(ctx, metav1.ListOptions{})
		return apierrors.IsServiceUnavailable(err), fmt.Sprint(err)
	})
	// Beyond the end of the test: the server runs on.
	data, err := os.MkdirTemp(plane.State, "data")
	if err != nil {
		t.Fatal(err)
	}
	if output, err := exec.CommandContext(t.Context(), filepath.Join(cluster.Root, "bin", server), "snapshot", "restore", snapshot, "--data-dir="+data).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if err := plane.Kube.CoreV1().ConfigMaps("elasticweb-system").Delete(t.Context(), server+"-storage", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	plane.Resume(t, server, "--data-dir="+data)
	cluster.Eventually(t, "the server to serve", func(ctx context.Context) (bool, string) {
		_, err := plane.Web.ElasticwebV1().ElasticWebs("dev").List(ctx, metav1.ListOptions{})
		return err == nil, fmt.Sprint(err)
	})
	cluster.Eventually(t, "the API to be found", func(context.Context) (bool, string) {
		_, found, err := plane.Kube.Discovery().ServerGroupsAndResources()
		return err == nil && slices.ContainsFunc(found, func(list *metav1.APIResourceList) bool { return list.GroupVersion == v1.SchemeGroupVersion.String() }), fmt.Sprint(err)
	})
	// Releases have objects of the same names: it would back off from them. And it looks for kinds when it starts, and then twice a minute.
	plane.Halt(t, "kube-controller-manager")
	plane.Resume(t, "kube-controller-manager")
}

// objects are those that the release served.
func objects(t *testing.T, folder string) []unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "objects.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Items []unstructured.Unstructured }
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// compare looks at what the object is now. Fields may have been added since; none is lost, and none has another value.
func compare(t *testing.T, was *unstructured.Unstructured) {
	t.Helper()
	var now unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(plane.Kubectl(t, "get", "ew/"+was.GetName(), "-n", was.GetNamespace(), "-o", "yaml", "--show-managed-fields")), &now); err != nil {
		t.Fatal(err)
	}
	if was.GetUID() != now.GetUID() || was.GetGeneration() != now.GetGeneration() || !was.GetCreationTimestamp().Time.Equal(now.GetCreationTimestamp().Time) {
		t.Errorf("%s: UID %s, generation %d; was %s, %d", was.GetName(), now.GetUID(), now.GetGeneration(), was.GetUID(), was.GetGeneration())
	}
	if !slices.Equal(managers(was), managers(&now)) {
		t.Errorf("%s: managed by %v; was by %v", was.GetName(), managers(&now), managers(was))
	}
	for _, part := range []string{"spec", "metadata.labels", "metadata.annotations", "metadata.finalizers"} {
		path := strings.Split(part, ".")
		before, _, _ := unstructured.NestedFieldNoCopy(was.Object, path...)
		after, _, _ := unstructured.NestedFieldNoCopy(now.Object, path...)
		if missing := lost(part, before, after); missing != "" {
			t.Errorf("%s: %s", was.GetName(), missing)
		}
	}
}

// managers are those of the object's fields, but for the status, which is written anew.
func managers(object *unstructured.Unstructured) (names []string) {
	for _, entry := range object.GetManagedFields() {
		if entry.Subresource == "" {
			names = append(names, string(entry.Operation)+" "+entry.Manager)
		}
	}
	return names
}

// lost says what is not in after as it was before.
func lost(path string, before, after any) string {
	fields, ok := before.(map[string]any)
	if !ok {
		if !reflect.DeepEqual(before, after) {
			return fmt.Sprintf("%s was %v, and is %v", path, before, after)
		}
		return ""
	}
	now, _ := after.(map[string]any)
	for name, value := range fields {
		if missing := lost(path+"."+name, value, now[name]); missing != "" {
			return missing
		}
	}
	return ""
}

// The manifests of today replace those of yesterday, without anything to be deleted by hand first.
func TestEarlierManifestsAreReplaced(t *testing.T) {
	for _, folder := range releases(t) {
		if _, err := os.Stat(filepath.Join(folder, "registration.yaml")); err != nil {
			t.Error(err)
		}
		for _, overlay := range []string{"registration", "base", "ha"} {
			file := filepath.Join(folder, overlay+".yaml")
			if _, err := os.Stat(file); err != nil {
				continue
			}
			t.Run(filepath.Base(folder)+"/"+overlay, func(t *testing.T) {
				plane.Kubectl(t, "apply", "-f", file)
				today := plane.Kubectl(t, "kustomize", filepath.Join(cluster.Root, "artifacts", "deploy", overlay))
				if output, errors, err := plane.TryKubectl(t, today, "apply", "-f", "-"); err != nil {
					t.Fatalf("%v\n%s%s", err, output, errors)
				}
				if output, errors, err := plane.TryKubectl(t, today, "diff", "-f", "-"); err != nil {
					t.Errorf("kubectl diff: %v\n%s%s", err, output, errors)
				}
			})
		}
	}
}
