// Command elasticweb-apiserver serves the ElasticWeb API and runs its controller.
package main

import (
	"fmt"
	"os"

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
