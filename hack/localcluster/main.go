// Command localcluster runs a real Kubernetes control plane on this machine, with elasticweb-apiserver registered in it. The same
// binary is also each component of the control plane, and kubectl.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"elasticweb.example.com/hack/localcluster/components"
	"elasticweb.example.com/hack/localcluster/node"
)

func main() {
	components.Dispatch()
	if len(os.Args) > 1 && os.Args[1] == node.InitCommand {
		node.Init()
	}

	// SIGHUP: the terminal was closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Whoever read our output may be gone when we stop, as `make up` is. Go would end us at the next line that we print.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := command().ExecuteContext(ctx); err != nil {
		if errors.Is(err, context.Canceled) {
			fmt.Println("Interrupted; nothing is left running.")
			os.Exit(130)
		}
		var inside *node.Ended
		if errors.As(err, &inside) {
			os.Exit(inside.Code)
		}
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "localcluster",
		Short:         "Runs a real Kubernetes control plane on this machine, with elasticweb-apiserver registered in it",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	var o options
	flags := root.PersistentFlags()
	flags.StringVar(&o.state, "state", ".local", "the folder of everything that is written")
	flags.StringVar(&o.server, "server", "bin/elasticweb-apiserver", "the binary of the server")
	flags.StringVar(&o.artifacts, "artifacts", "artifacts", "the folder of the project's manifests")

	flags.StringVar(&o.node, "node", "", `"real" runs Pods on a real Node, which needs root, instead of playing them`)
	flags.StringVar(&o.nodeBinary, "node-binary", "bin/localnode", "the binary of a real Node's programs")
	flags.StringArrayVar(&o.images, "image", nil, "an archive with an image for a real Node")

	run := &cobra.Command{
		Use:   "run",
		Short: "Shows the sample at work, then stays until Ctrl-C",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	run.Flags().BoolVar(&o.once, "once", false, "end after the demonstration")
	run.Flags().StringVar(&o.cluster, "cluster", "", `"current" uses the cluster of KUBECONFIG instead of a local one`)
	run.Flags().StringVar(&o.advertise, "advertise-address", "", "the address at which the API server of that cluster reaches this machine")

	serve := &cobra.Command{
		Use:   "serve",
		Short: "Runs the cluster until a signal, and prints \"ready\" on standard output when kubectl get ew works",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), o) },
	}
	serve.Flags().BoolVar(&o.untilEOF, "until-eof", false, "stop when standard input ends, too: it does when the caller dies")

	serve.Flags().BoolVar(&o.withoutServer, "without-server", false, "register the server, but leave it to the caller to start it at the port of the APIService")

	root.AddCommand(run, serve,
		&cobra.Command{
			Use:   "up",
			Short: "Runs the cluster in the background, and returns when kubectl get ew works",
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return up(cmd.Context(), o) },
		},
		&cobra.Command{
			Use:   "down",
			Short: "Ends the cluster and deletes what it wrote, except its logs",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return down(o) },
		})
	return root
}

// options are the flags.
type options struct {
	state, server, artifacts string
	once, untilEOF           bool
	withoutServer            bool
	cluster, advertise       string
	node, nodeBinary         string
	images                   []string
}
