package options

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"elasticweb.example.com/pkg/storage/embedded"
)

// revisionBump is far more than a cluster writes between two snapshots, and far less than there are revisions.
const revisionBump = 1_000_000_000

// standardStream, instead of the name of a file, is the standard output or input.
const standardStream = "-"

// newSnapshotCommand returns the commands that save and restore the data of the embedded etcd.
func newSnapshotCommand() *cobra.Command {
	snapshot := &cobra.Command{
		Use:   "snapshot",
		Short: "Saves and restores the data of the embedded etcd, and shows what the schedule has saved",
		Args:  cobra.NoArgs,
		// So that a typo is one.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, cmd := range []*cobra.Command{newSaveCommand(), newRestoreCommand(), newListCommand(), newCatCommand()} {
		cmd.SilenceUsage = true
		snapshot.AddCommand(cmd)
	}
	// Not those of the server, which know of its flags alone.
	plain := &cobra.Command{}
	snapshot.SetUsageFunc(plain.UsageFunc())
	snapshot.SetHelpFunc(plain.HelpFunc())
	return snapshot
}

func newSaveCommand() *cobra.Command {
	o := New()
	save := &cobra.Command{
		Use:   "save FILE",
		Short: "Saves a snapshot of the embedded etcd, whether a server runs on it or not, or of the etcd at --etcd-servers",
		Long: `Saves a snapshot of the embedded etcd, whether a server runs on it or not, or of the
etcd at --etcd-servers. FILE -: the standard output.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			external := len(o.Etcd.StorageConfig.Transport.ServerList) > 0
			switch {
			case external && args[0] != standardStream:
				return errors.New("with --etcd-servers FILE must be -, the standard output: snapshot save - --etcd-servers=… >FILE")
			case external:
				client, err := o.etcdClient()
				if err != nil {
					return err
				}
				defer func() { _ = client.Close() }()
				return embedded.Stream(cmd.Context(), client, cmd.OutOrStdout())
			case args[0] == standardStream:
				return embedded.SaveTo(cmd.Context(), o.DataDir, cmd.OutOrStdout())
			}
			if err := embedded.Save(cmd.Context(), o.DataDir, args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "Saved", args[0])
			return err
		},
	}
	etcd := &o.Etcd.StorageConfig.Transport
	save.Flags().StringSliceVar(&etcd.ServerList, "etcd-servers", nil, "The members of an etcd cluster, of which the first that answers is asked.")
	save.Flags().StringVar(&etcd.TrustedCAFile, "etcd-cafile", "", "The authority of its certificates.")
	save.Flags().StringVar(&etcd.CertFile, "etcd-certfile", "", "The client certificate for it.")
	save.Flags().StringVar(&etcd.KeyFile, "etcd-keyfile", "", "The key of the client certificate.")
	save.Flags().StringVar(&o.DataDir, "data-dir", o.DataDir, "The folder of the embedded etcd.")
	return save
}

func newRestoreCommand() *cobra.Command {
	o := New()
	var member embedded.Member
	bump := uint64(revisionBump)
	restore := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restores a snapshot into a new --data-dir, or makes it the data of a member of an external etcd cluster",
		Long: `Restores a snapshot into a new --data-dir, for the embedded etcd. With --name it makes
the data-dir of that member of an external etcd cluster instead; the other flags have
then the values that the member is started with. A server that finds older data than it
has last used refuses to serve it, and says how to accept it. FILE -: the standard input.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if args[0] == standardStream {
				err = embedded.RestoreFrom(o.DataDir, cmd.InOrStdin(), member, bump)
			} else {
				err = embedded.Restore(o.DataDir, args[0], member, bump)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "Restored into", o.DataDir)
			return err
		},
	}
	restore.Flags().StringVar(&o.DataDir, "data-dir", o.DataDir, "The folder of the embedded etcd.")
	restore.Flags().Uint64Var(&bump, "bump-revision", bump,
		"What is added to the revision, so that who watched the old data learns that it has changed. 0: nothing.")
	restore.Flags().StringVar(&member.Name, "name", "", "The name of the member of an external cluster.")
	restore.Flags().StringVar(&member.InitialCluster, "initial-cluster", "", "With --name: all members, as in etcd's flag.")
	restore.Flags().StringVar(&member.InitialAdvertisePeerURLs, "initial-advertise-peer-urls", "", "With --name: the member's peer addresses, as in etcd's flag.")
	restore.Flags().StringVar(&member.InitialClusterToken, "initial-cluster-token", "etcd-cluster", "With --name: as in etcd's flag.")
	return restore
}

func newListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list FOLDER",
		Short: "Lists the snapshots that --embedded-etcd-snapshot-interval has saved in the folder, the oldest first",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := embedded.Saved(args[0])
			if err != nil {
				return err
			}
			for _, file := range files {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), file); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func newCatCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cat FILE",
		Short: "Writes one of the listed snapshots to the standard output: an image with nothing but this program has no other way",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return embedded.Print(cmd.OutOrStdout(), args[0]) },
	}
}
