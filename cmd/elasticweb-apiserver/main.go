// Command elasticweb-apiserver serves the ElasticWeb API and runs its controller.
package main

import (
	"fmt"
	"os"
	// For policies that name a time zone: an image of nothing but this binary has none.
	_ "time/tzdata"

	// For webhooks at public addresses: nor has it certificate authorities. Those of the system come first.
	_ "golang.org/x/crypto/x509roots/fallback"

	// The metrics of client-go and of the build register themselves.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"

	"k8s.io/component-base/cli"

	"elasticweb.example.com/pkg/options"
)

func main() {
	if err := cli.RunNoErrOutput(options.NewCommand()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
