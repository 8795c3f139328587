package options

import (
	"fmt"
	"runtime"

	componentversion "k8s.io/component-base/version"
)

// buildVersion is set by the linker.
var buildVersion = "v0.0.0-unknown"

// version is that of the build, and of the Kubernetes libraries in it, whose defaults --emulated-version moves.
func version() string {
	return fmt.Sprintf("%s (Kubernetes libraries v%s, %s, %s/%s)", buildVersion, componentversion.DefaultKubeBinaryVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
