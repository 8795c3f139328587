package importrules

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "elasticweb.example.com/"

// rules say, for the packages below a path, which of our packages they may import; the first one that fits counts. A path
// ending in "/" stands for all below it.
var rules = []struct {
	packages string
	may      []string
}{
	{"apis/elasticweb/validation", []string{"apis/", "pkg/capacity"}},
	{"apis/", []string{"apis/"}},
	{"pkg/generated/", []string{"apis/", "pkg/generated/"}},
	{"pkg/capacity", nil},
	{"pkg/workload", []string{"apis/", "pkg/capacity"}},
	{"pkg/registry/", []string{"apis/", "pkg/capacity", "pkg/workload", "pkg/generated/"}},
	{"pkg/admission/", []string{"apis/", "pkg/capacity", "pkg/workload", "pkg/generated/"}},
	{"pkg/controller", []string{"apis/", "pkg/capacity", "pkg/workload", "pkg/generated/"}},
	{"pkg/leader", nil},
	{"pkg/servingcert", nil},
	{"pkg/storage/", nil},
	{"pkg/apiserver", []string{"apis/", "pkg/"}},
	{"pkg/options", []string{"apis/", "pkg/"}},
	{"cmd/", []string{"pkg/options"}},
	{"hack/", []string{"pkg/generated/"}},
	{"test/", []string{"apis/", "pkg/"}},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Dir        string
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		may, found := allowed(path)
		if !found {
			t.Errorf("no rule covers %s: give it a room", path)
			continue
		}
		for _, imported := range p.Imports {
			if target, ours := strings.CutPrefix(imported, module); ours && !matchesAny(target, may) {
				t.Errorf("%s imports %s, and may import of ours only: %v", path, target, may)
			}
		}
	}
}

// Whoever ends the process takes everybody's clean-up with it.
func TestOnlyMainExits(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		if !strings.HasPrefix(path, "pkg/") && !strings.HasPrefix(path, "apis/") || strings.HasPrefix(path, "pkg/generated/") {
			continue
		}
		// Not CombinedOutput: grep answers 1 where it finds nothing.
		output, _ := exec.Command("grep", "-nE", `os\.Exit\(|log\.Fatal|klog\.Fatal|klog\.Exit|FlushAndExit`, "-r", "--include=*.go", "--exclude=*_test.go", p.Dir).Output()
		if len(output) > 0 {
			t.Errorf("only cmd may end the process:\n%s", output)
		}
	}
}

func TestTheRulesBite(t *testing.T) {
	for path, target := range map[string]string{
		"apis/elasticweb/v1":       "pkg/capacity",
		"pkg/registry/elasticweb":  "pkg/controller",
		"pkg/controller":           "pkg/registry/elasticweb",
		"pkg/capacity":             "apis/elasticweb/v1",
		"cmd/elasticweb-apiserver": "pkg/apiserver",
	} {
		if may, _ := allowed(path); matchesAny(target, may) {
			t.Errorf("the rules let %s import %s", path, target)
		}
	}
}

func allowed(path string) (may []string, found bool) {
	for _, rule := range rules {
		if matches(path, rule.packages) {
			return rule.may, true
		}
	}
	return nil, false
}

func matchesAny(path string, patterns []string) bool {
	for _, pattern := range patterns {
		if matches(path, pattern) {
			return true
		}
	}
	return false
}

func matches(path, pattern string) bool {
	if strings.HasSuffix(pattern, "/") {
		return strings.HasPrefix(path+"/", pattern)
	}
	return path == pattern
}

func list(t *testing.T) []goPackage {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports,Dir", module+"...")
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 20 {
		t.Fatalf("go list names only %d packages", len(packages))
	}
	return packages
}
