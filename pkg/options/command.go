package options

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	genericapiserver "k8s.io/apiserver/pkg/server"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
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
Without --etcd-servers it runs an embedded etcd in --data-dir, whose data
"elasticweb-apiserver snapshot save" and "snapshot restore" save and restore.`,
		Args:          cobra.NoArgs,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			return o.run(genericapiserver.SetupSignalContext())
		},
	}
	sets := o.Flags()
	// Logging has its flags already; a second -v would take the value of the first, or not, by chance.
	globalflag.AddGlobalFlags(sets.FlagSet("global"), cmd.Name(), logs.SkipLoggingConfigurationFlags())
	for _, set := range sets.FlagSets {
		cmd.Flags().AddFlagSet(set)
	}
	columns, _, _ := term.TerminalSize(cmd.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(cmd, sets, columns)
	cmd.SetVersionTemplate("{{.DisplayName}} {{.Version}}\n")
	cmd.AddCommand(newSnapshotCommand())
	return cmd
}

func (o *Options) run(ctx context.Context) error {
	o.beginLogs()
	// Before anything asks for a gate or a version.
	if err := o.ServerRun.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if err := o.applyLogs(); err != nil {
		return err
	}
	if err := o.Complete(); err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return err
	}
	logger := klog.FromContext(ctx)
	logger.Info("Starting", "server", apiserver.Name, "version", version())

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// What the server stands on outlives its drain: requests in flight are still to be known and answered.
	foundation, tearDown := context.WithCancel(context.WithoutCancel(ctx))
	defer tearDown()
	if o.embeds {
		stop, err := o.startEtcd(ctx, cancel)
		if errors.Is(err, context.Canceled) {
			logger.Info("Stopped before the start was complete")
			return nil
		}
		if err != nil {
			return err
		}
		// After the server, whose last requests still find it, and after all that has connections to it.
		defer func() {
			tearDown()
			stop()
		}()
	}
	server, err := o.server(ctx, foundation, cancel)
	if err != nil {
		return err
	}
	if server == nil {
		logger.Info("Stopped before the start was complete")
		return nil
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

// startEtcd starts the embedded etcd, and what looks after it. The end of etcd is the end of the server.
func (o *Options) startEtcd(ctx context.Context, fail context.CancelCauseFunc) (stop func(), err error) {
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: o.DataDir, Quota: o.EtcdQuota})
	if err != nil {
		return nil, err
	}
	o.Etcd.StorageConfig.Transport.ServerList = []string{etcd.Endpoint()}
	go func() {
		if err := <-etcd.Err(); err != nil {
			fail(fmt.Errorf("the embedded etcd ended: %w", err))
		}
	}()
	caretaking, end := context.WithCancel(context.WithoutCancel(ctx))
	var care sync.WaitGroup
	care.Go(func() { etcd.Relieve(caretaking) })
	if o.Snapshots.Interval > 0 {
		care.Go(func() { etcd.SaveRegularly(caretaking, o.Snapshots) })
	}
	return func() {
		end()
		care.Wait()
		etcd.Close()
	}, nil
}

// server returns nil if it was told to stop before it could start.
func (o *Options) server(ctx, foundation context.Context, fail context.CancelCauseFunc) (*genericapiserver.GenericAPIServer, error) {
	starting, started := context.WithCancel(foundation)
	// Waiting ends with ctx; what goes on afterwards does not.
	detach := context.AfterFunc(ctx, started)
	// Before Config: the library forgets the port that it could not have.
	address := o.address()
	config, err := o.Config(starting, fail)
	switch {
	case err != nil && ctx.Err() != nil:
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			return nil, cause
		}
		return nil, nil
	// By its text: the library hands on the text of the cause, not the cause.
	case err != nil && strings.Contains(err.Error(), syscall.EADDRINUSE.Error()):
		return nil, fmt.Errorf("%s is in use by another process: choose another --secure-port or --bind-address", address)
	case err != nil:
		return nil, err
	}
	detach()
	return config.Complete().New()
}
