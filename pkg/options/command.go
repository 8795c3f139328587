package options

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"
	"k8s.io/klog/v2"

	"elasticweb.example.com/pkg/apiserver"
	"elasticweb.example.com/pkg/storage/embedded"
)

// NewCommand returns the command that runs the server until SIGTERM or SIGINT.
func NewCommand() *cobra.Command {
	o := New()
	cmd := &cobra.Command{
		Use:   apiserver.Name,
		Short: "Serves elasticweb.example.com to the aggregation layer of a Kubernetes cluster",
		Long: `Serves the API group elasticweb.example.com to the aggregation layer of a Kubernetes
cluster from its own etcd, and keeps a Deployment and a Service for every ElasticWeb.
Without --etcd-servers it runs an embedded etcd in --data-dir.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			return o.run(genericapiserver.SetupSignalContext())
		},
	}
	sets := o.Flags()
	globalflag.AddGlobalFlags(sets.FlagSet("global"), cmd.Name())
	for _, set := range sets.FlagSets {
		cmd.Flags().AddFlagSet(set)
	}
	columns, _, _ := term.TerminalSize(cmd.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(cmd, sets, columns)
	return cmd
}

func init() {
	// --feature-gates covers the gates of logging, too.
	utilruntime.Must(logsapi.AddFeatureGates(utilfeature.DefaultMutableFeatureGate))
}

func (o *Options) run(ctx context.Context) error {
	// Before anything asks for a gate or a version.
	if err := o.ServerRun.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(o.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	if err := o.Complete(); err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return err
	}
	logger := klog.FromContext(ctx)
	logger.Info("Starting", "server", apiserver.Name)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if o.embedsEtcd() {
		etcd, err := embedded.Start(ctx, o.DataDir)
		if err != nil {
			return err
		}
		// After the server: its last requests still find it.
		defer etcd.Close()
		o.Etcd.StorageConfig.Transport.ServerList = []string{etcd.Endpoint()}
		go func() {
			if err := <-etcd.Err(); err != nil {
				cancel(fmt.Errorf("the embedded etcd ended: %w", err))
			}
		}()
	}
	// Before Config: the library forgets the port that it could not have.
	address := o.address()
	config, err := o.Config()
	// By its text: the library hands on the text of the cause, not the cause.
	if err != nil && strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		return fmt.Errorf("%s is in use by another process: choose another --secure-port or --bind-address", address)
	}
	if err != nil {
		return err
	}
	server, err := config.Complete().New()
	if err != nil {
		return err
	}
	if err := server.PrepareRun().RunWithContext(ctx); err != nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	logger.Info("Stopped")
	return nil
}
