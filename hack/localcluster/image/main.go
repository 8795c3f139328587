// Command image makes a container image of a static binary, and saves or pushes it. It needs no container engine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"

	"elasticweb.example.com/hack/localcluster/ociimage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var env []string
	var output, path, user string
	var push bool
	cmd := &cobra.Command{
		Use:   "image NAME:TAG PLATFORM=BINARY…",
		Short: "Makes a container image of a static binary, for one platform or more",
		Args:  cobra.MinimumNArgs(2), SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			tag, err := name.NewTag(args[0])
			if err != nil {
				return fmt.Errorf("IMG: %w", err)
			}
			var images []v1.Image
			for _, argument := range args[1:] {
				platform, binary, _ := strings.Cut(argument, "=")
				image, err := ociimage.New(ociimage.Config{Binary: binary, Platform: platform, Path: path, Env: env, User: user})
				if err != nil {
					return err
				}
				images = append(images, image)
			}
			index, err := ociimage.Index(images...)
			if err != nil {
				return err
			}
			digest, err := index.Digest()
			if err != nil {
				return err
			}
			if err := ociimage.Save(output, index, tag.Name()); err != nil {
				return err
			}
			fmt.Printf("%s %s@%s\n", output, tag.Name(), digest)
			if !push {
				return nil
			}
			return remote.WriteIndex(tag, index, remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithContext(cmd.Context()))
		},
	}
	cmd.Flags().StringArrayVar(&env, "env", nil, "a variable of the environment, name=value")
	cmd.Flags().StringVar(&path, "path", "", "where the binary is in the image (default: its name, at the top)")
	cmd.Flags().StringVar(&user, "user", "", "who runs it, by number (default 65532:65532)")
	cmd.Flags().StringVar(&output, "output", "image.tar", "the archive to write")
	cmd.Flags().BoolVar(&push, "push", false, "push it, too, with the credentials of docker's configuration")
	return cmd
}
