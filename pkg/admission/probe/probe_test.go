package probe

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestRun(t *testing.T) {
	notFound := apierrors.NewNotFound(schema.GroupResource{}, "")
	forbidden := apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no"))
	for name, test := range map[string]struct {
		answers map[string]error
		off     []string
		want    string
		unasked string
	}{
		"all is served":            {},
		"an older host":            {answers: map[string]error{"mutatingadmissionpolicies": notFound, "mutatingadmissionpolicybindings": notFound}, off: []string{"MutatingAdmissionPolicy"}},
		"half of an API":           {answers: map[string]error{"validatingadmissionpolicybindings": notFound}, off: []string{"ValidatingAdmissionPolicy"}},
		"a missing right":          {answers: map[string]error{"mutatingadmissionpolicies": forbidden}, want: "may not list mutatingadmissionpolicies.admissionregistration.k8s.io"},
		"and the way out":          {answers: map[string]error{"resourcequotas": forbidden}, want: "--disable-admission-plugins=ResourceQuota"},
		"a right that may miss":    {answers: map[string]error{"flowschemas": forbidden}, off: []string{FlowControl}},
		"no flow control":          {answers: map[string]error{"flowschemas": notFound}, off: []string{FlowControl}},
		"the host is away":         {answers: map[string]error{"resourcequotas": errors.New("connection refused")}, want: "list resourcequotas: connection refused"},
		"what is off is not asked": {answers: map[string]error{"resourcequotas": forbidden}, unasked: "ResourceQuota"},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := fake.NewTestScheme()
			if err := metav1.AddMetaToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			client := fake.NewSimpleMetadataClient(scheme)
			client.PrependReactor("list", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				if err := test.answers[action.GetResource().Resource]; err != nil {
					return true, nil, err
				}
				return true, &metav1.List{}, nil
			})
			off, err := Run(t.Context(), client, func(plugin string) bool { return plugin != test.unasked })
			if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error = %v, want %q", err, test.want)
			}
			if !slices.Equal(slices.Sorted(maps.Keys(off)), test.off) {
				t.Errorf("off: %v, want %v", off, test.off)
			}
		})
	}
}
