package importrules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "elasticweb.example.com/"
)

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
	{"pkg/access", nil},
	{"pkg/leader", nil},
	{"pkg/servingcert", nil},
	{"pkg/storage/", nil},
	{"pkg/apiserver", []string{"apis/", "pkg/"}},
	{"pkg/options", []string{"apis/", "pkg/"}},
	{"cmd/", []string{"pkg/options"}},
	{"hack/", []string{"apis/", "pkg/generated/"}},
	{"test/", []string{"apis/", "pkg/", "test/cluster"}},
}

func TestImports(t *testing.T) {
	files := sources(t)
	for _, file := range files {
		may, found := allowed(file.folder)
		if !found {
			t.Errorf("no rule covers %s: give it a room", file.folder)
			continue
		}
		for _, imported := range file.syntax.Imports {
			path, err := strconv.Unquote(imported.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if target, ours := strings.CutPrefix(path, module); ours && !matchesAny(target, may) {
				t.Errorf("%s imports %s, and may import of ours only: %v", file.path, target, may)
			}
		}
	}
}

// Whoever ends the process takes everybody's clean-up with it.
func TestOnlyMainExits(t *testing.T) {
	exits := map[string]string{"os": "Exit", "log": "Fatal", "klog": "Fatal Exit FlushAndExit"}
	for _, file := range sources(t) {
		if strings.HasPrefix(file.folder, "cmd/") || strings.HasPrefix(file.folder, "hack/") || file.folder == "test/node/web" {
			continue
		}
		ast.Inspect(file.syntax, func(node ast.Node) bool {
			if call, ok := node.(*ast.SelectorExpr); ok {
				if from, ok := call.X.(*ast.Ident); ok {
					for name := range strings.FieldsSeq(exits[from.Name]) {
						if strings.HasPrefix(call.Sel.Name, name) {
							t.Errorf("%s calls %s.%s: only cmd may end the process", file.path, from.Name, call.Sel.Name)
						}
					}
				}
			}
			return true
		})
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

// source is a Go file that is not a test.
type source struct {
	path, folder string
	syntax       *ast.File
}

// sources are those of the module. They are read here and not by the go command: what a test reads itself, its cached result
// depends on.
func sources(t *testing.T) (files []source) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		relative, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (relative == "hack/localcluster" || relative == "bin" || strings.HasPrefix(entry.Name(), ".") && relative != "."):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		files = append(files, source{path: relative, folder: filepath.Dir(relative), syntax: syntax})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files found", len(files))
	}
	return files
}
