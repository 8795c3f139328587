package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// All that the server did so far, in whatever test, it had the right to: the local one lives with the rights of a deployed one.
// (Of the refusals of admission, which are 403, too, the log says that authorization allowed the request.)
func TestTheRightsSuffice(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	log, err := os.ReadFile(filepath.Join(shared.State, "logs", "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte(`"verb":"patch"`)) {
		t.Fatal("the audit log has no write of the server")
	}
	for line := range strings.Lines(string(log)) {
		// ConfigMaps of all namespaces: TestAPolicyWithParameters has it asked for what it may not.
		if strings.Contains(line, `"authorization.k8s.io/decision":"forbid"`) && !strings.Contains(line, `"requestURI":"/api/v1/configmaps?`) {
			t.Errorf("the server was refused: %s", line)
		}
	}
}
