package ociimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nonroot is the user of an image, as distroless images have it: its number, so that a kubelet can see that it is not root.
const nonroot = "65532:65532"

// Config is what an image is made of.
type Config struct {
	// Binary is the file with the static binary that the image runs, and Platform what it is compiled for, such as linux/amd64.
	Binary, Platform string
	// Path is where it is in the image. Default: its name, at the top.
	Path string
	// Env are variables of the environment, name=value.
	Env []string
	// User is who runs it, by number. Default: 65532:65532, nobody.
	User string
}

// New makes an image of the binary and of the list of the modules in it, /sbom.cdx.json.
func New(c Config) (v1.Image, error) {
	platform, err := v1.ParsePlatform(c.Platform)
	if err != nil {
		return nil, fmt.Errorf("platform %q: %w", c.Platform, err)
	}
	binary, err := os.ReadFile(c.Binary)
	if err != nil {
		return nil, err
	}
	modules, err := SBOM(c.Binary)
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", c.Binary, err)
	}
	entry := c.Path
	if entry == "" {
		entry = "/" + path.Base(c.Binary)
	}
	content, err := archive(
		file{strings.TrimPrefix(entry, "/"), 0o755, binary},
		file{"sbom.cdx.json", 0o644, modules},
		// Who mounts nothing there has a place for temporary files all the same.
		file{name: "tmp/", mode: 0o1777},
	)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		return nil, err
	}
	user := c.User
	if user == "" {
		user = nonroot
	}
	return mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant,
		RootFS: rootFS(image),
		Config: v1.Config{Entrypoint: []string{entry}, Env: c.Env, User: user, WorkingDir: "/"},
	})
}

func rootFS(image v1.Image) v1.RootFS {
	// An image in memory always has its configuration.
	config, _ := image.ConfigFile()
	return config.RootFS
}

type file struct {
	name    string
	mode    int64
	content []byte
}

// archive packs files as if they had been made in 1970, by root.
func archive(files ...file) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if strings.HasSuffix(f.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
