package install

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/diff"
	"sigs.k8s.io/yaml"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

var update = flag.Bool("update", false, "write the files in testdata/stored that say what was decoded anew")

// Each .pb file in testdata/stored is what etcd held of an object when the issue of its folder was closed. What was stored once
// is read for ever: no file there is ever changed. The .yaml file beside it says what is read, with the defaults of today.
func TestWhatWasStoredIsStillRead(t *testing.T) {
	scheme := runtime.NewScheme()
	Install(scheme)
	codecs := serializer.NewCodecFactory(scheme)
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		t.Fatal("no protobuf serializer")
	}
	storage := codecs.CodecForVersions(info.Serializer, codecs.UniversalDeserializer(), v1.SchemeGroupVersion, schema.GroupVersion{Group: elasticweb.GroupName, Version: runtime.APIVersionInternal})

	files, err := filepath.Glob("testdata/stored/*/*.pb")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stored objects: %v", err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			stored, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			object, err := runtime.Decode(storage, stored)
			if err != nil {
				t.Fatal(err)
			}
			wire, err := scheme.ConvertToVersion(object, v1.SchemeGroupVersion)
			if err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(wire)
			if err != nil {
				t.Fatal(err)
			}
			golden := file[:len(file)-len(".pb")] + ".yaml"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("read as\n%s, want\n%s", got, want)
			}

			encoded, err := runtime.Encode(storage, object)
			if err != nil {
				t.Fatal(err)
			}
			again, err := runtime.Decode(storage, encoded)
			if err != nil {
				t.Fatal(err)
			}
			if !apiequality.Semantic.DeepEqual(object, again) {
				t.Errorf("stored anew, it is read differently: %s", diff.Diff(object, again))
			}
		})
	}
}
