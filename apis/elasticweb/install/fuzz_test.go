package install

import (
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"elasticweb.example.com/apis/elasticweb"
	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/apis/elasticweb/validation"
)

// Whatever a client sends is refused, or decoded into an object that is defaulted once for all, can be judged, comes back from
// every encoding as it was, and, if it is valid, warned of. Nothing panics.
func FuzzDecode(f *testing.F) {
	scheme := runtime.NewScheme()
	Install(scheme)
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	web := &v1.ElasticWeb{Spec: v1.ElasticWebSpec{Image: "nginx", SinglePodsQPS: ptr.To[int32](800)}}
	web.Name, web.Namespace = "web", "dev"
	var encoders []runtime.Codec
	for _, info := range codecs.SupportedMediaTypes() {
		codec := codecs.CodecForVersions(info.Serializer, codecs.UniversalDeserializer(), v1.SchemeGroupVersion, elasticweb.SchemeGroupVersion)
		encoders = append(encoders, codec)
		data, err := runtime.Encode(codec, web)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, spec := range []string{
		`"image":1`, `"singlePodsQPS":-1,"targetUtilizationPercentage":2147483647`, `"singlePodsQPS":2147483647,"totalQPS":2147483647,"maxReplicas":1,"image":"a"`,
		`"template":{"spec":{"containers":[{"name":"web"},null]}}`, `"resources":{"limits":{"cpu":"1e-9"},"requests":{"":"-0"}}`, `"template":null,"serviceAnnotations":{"":""}`,
	} {
		f.Add([]byte(`{"apiVersion":"elasticweb.example.com/v1","kind":"ElasticWeb","metadata":{"name":"web"},"spec":{` + spec + `}}`))
	}
	nodePorts := utilnet.PortRange{Base: 30000, Size: 2768}
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := runtime.Decode(codecs.UniversalDecoder(elasticweb.SchemeGroupVersion), data)
		if err != nil {
			return
		}
		web, ok := object.(*elasticweb.ElasticWeb)
		if !ok {
			return
		}
		wire, err := scheme.ConvertToVersion(web, v1.SchemeGroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		again := wire.DeepCopyObject()
		scheme.Default(again)
		if !apiequality.Semantic.DeepEqual(wire, again) {
			t.Fatal("defaulting what was defaulted changes it")
		}
		var errs field.ErrorList
		errs = append(errs, validation.ValidateElasticWeb(web, nodePorts)...)
		errs = append(errs, validation.ValidateElasticWebUpdate(web, web.DeepCopy(), nodePorts)...)
		errs = append(errs, validation.ValidateElasticWebStatusUpdate(web, web.DeepCopy())...)
		errs = append(errs, scheme.Validate(t.Context(), nil, wire)...)
		if len(errs) == 0 {
			if web.Spec.TotalQPS == nil {
				web.Spec.TotalQPS = ptr.To(*web.Spec.SinglePodsQPS)
			}
			validation.Warnings(web)
		}
		for _, encoder := range encoders {
			encoded, err := runtime.Encode(encoder, web)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := runtime.Decode(encoder, encoded)
			if err != nil {
				t.Fatalf("what was encoded cannot be decoded: %v", err)
			}
			if !apiequality.Semantic.DeepEqual(web, decoded) {
				t.Fatalf("it comes back otherwise: %#v, was %#v", decoded, web)
			}
		}
	})
}
