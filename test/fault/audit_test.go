package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// request is one that our server made to the host, from its audit log.
type request struct {
	Verb       string `json:"verb"`
	Stage      string `json:"stage"`
	RequestURI string `json:"requestURI"`
	ObjectRef  struct {
		Resource, Subresource, Namespace, Name string
	} `json:"objectRef"`
	ResponseStatus struct{ Code int } `json:"responseStatus"`
}

// resource is that of the object, with its subresource.
func (r request) resource() string {
	return strings.TrimSuffix(r.ObjectRef.Resource+"/"+r.ObjectRef.Subresource, "/")
}

// writes says whether the request changes, or could change, an object. Reviews are questions.
func (r request) writes() bool {
	return !slices.Contains([]string{"get", "list", "watch"}, r.Verb) && !strings.HasSuffix(r.ObjectRef.Resource, "reviews")
}

// audit reads what has been logged since a moment.
type audit struct{ offset int64 }

func auditLog() string { return filepath.Join(plane.State, "logs", "audit.log") }

func auditFromNow(t testing.TB) *audit {
	t.Helper()
	info, err := os.Stat(auditLog())
	if err != nil {
		t.Fatal(err)
	}
	return &audit{info.Size()}
}

// requests are those answered since; of a watch, those begun.
func (a *audit) requests(t testing.TB) (found []request) {
	t.Helper()
	text, err := os.ReadFile(auditLog())
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(text)) < a.offset {
		t.Fatal("the audit log was rotated")
	}
	for line := range bytes.Lines(text[a.offset:]) {
		var r request
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if (r.Verb == "watch") == (r.Stage == "ResponseStarted") {
			found = append(found, r)
		}
	}
	return found
}

// count counts requests by verb and resource, without those that renew the lease.
func count(requests []request, keep func(request) bool) map[string]int {
	counts := map[string]int{}
	for _, r := range requests {
		if r.ObjectRef.Resource != "leases" && keep(r) {
			counts[r.Verb+" "+r.resource()]++
		}
	}
	return counts
}

func describe(counts map[string]int) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		lines = append(lines, fmt.Sprintf("%s: %d", key, counts[key]))
	}
	return strings.Join(lines, ", ")
}
