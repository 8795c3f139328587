package ociimage

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// binary is one that is there: the test's own.
func binary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

func TestTheSameBinaryMakesTheSameImage(t *testing.T) {
	digests := map[string]bool{}
	for range 2 {
		image, err := New(Config{Binary: binary(t), Platform: "linux/amd64"})
		if err != nil {
			t.Fatal(err)
		}
		index, err := Index(image)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[digest.String()] = true
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if c := config.Config; c.User != "65532:65532" || len(c.Entrypoint) != 1 || c.Entrypoint[0] != "/"+filepath.Base(binary(t)) || !config.Created.IsZero() {
			t.Errorf("configuration %+v, created %v", c, config.Created)
		}
	}
	if len(digests) != 1 {
		t.Errorf("digests %v, want one", digests)
	}
}

func TestTheArchiveIsALayout(t *testing.T) {
	image, err := New(Config{Binary: binary(t), Platform: "linux/arm64"})
	if err != nil {
		t.Fatal(err)
	}
	index, err := Index(image)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := Save(file, index, "example.com/web:v1"); err != nil {
		t.Fatal(err)
	}
	archive, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	found := map[string]string{}
	for reader := tar.NewReader(archive); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		found[header.Name] = string(text)
	}
	for name, want := range map[string]string{"oci-layout": "imageLayoutVersion", "index.json": `"io.containerd.image.name":"example.com/web:v1"`} {
		if !strings.Contains(strings.ReplaceAll(found[name], " ", ""), want) {
			t.Errorf("%s is %q, want %s in it", name, found[name], want)
		}
	}
}

func TestTheListOfModules(t *testing.T) {
	// A test's binary does not say what it was made of.
	made := filepath.Join(t.TempDir(), "image")
	if output, err := exec.Command("go", "build", "-o", made, "../image").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	text, err := SBOM(made)
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BOMFormat  string
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	for _, component := range bom.Components {
		if component.Name == "github.com/google/go-containerregistry" && strings.HasPrefix(component.PURL, "pkg:golang/"+component.Name+"@v0.") {
			return
		}
	}
	t.Errorf("%s without what this is made of: %v", bom.BOMFormat, bom.Components)
}

func TestWhatCannotBeAnImage(t *testing.T) {
	for name, c := range map[string]Config{
		"no such file": {Binary: "missing", Platform: "linux/amd64"},
		"no platform":  {Binary: binary(t), Platform: "a/b/c/d"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}
