package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"elasticweb.example.com/hack/localcluster/process"
)

// currentPort is where the server listens for a cluster that is not ours: one port that a firewall can be told of.
const currentPort = 8443

// cleanUpLimit is the time that each step of leaving the caller's cluster may take.
const cleanUpLimit = time.Minute

// runCurrent is `make run CLUSTER=current`: the server runs here, and the cluster of KUBECONFIG reaches it by an address of
// this machine.
func runCurrent(ctx context.Context, o options) (err error) {
	address, err := checkCurrent(o)
	if err != nil {
		return err
	}
	server, err := binary(o.server)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	state, err := openState(o.state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.close()) }()

	c := &cluster{group: process.NewGroup(state.path), state: state, self: self, kubeconfig: filepath.Join(state.path, "kubeconfig")}
	defer c.group.Stop()
	where, err := copyCurrentKubeconfig(c.kubeconfig)
	if err != nil {
		return err
	}
	say("==> Your cluster: %s", where)
	// All that leave deletes must be of our making.
	for _, object := range []struct{ kind, name string }{
		{"apiservice", apiService},
		{"namespace", "elasticweb-system"},
		{"clusterrole", "elasticweb-apiserver"},
	} {
		exists, err := c.exists(ctx, object.kind, object.name)
		if err != nil {
			return err
		}
		if exists {
			return fmt.Errorf("this cluster has a %s %s already, which is not touched: an ElasticWeb server is, or was, installed there", object.kind, object.name)
		}
	}
	defer func() { err = errors.Join(err, c.leave()) }()
	s := serverConfig{
		binary: server, kubeconfig: c.kubeconfig, address: "0.0.0.0", port: currentPort,
		service: advertisedService(address, currentPort), servicePort: 443,
	}
	if err := c.register(ctx, o, s); err != nil {
		return err
	}
	if err := c.startServer(ctx, s, say); err != nil {
		return err
	}
	return show(ctx, c, o)
}

func checkCurrent(o options) (net.IP, error) {
	if o.cluster != "current" {
		return nil, fmt.Errorf("CLUSTER=%s: the only value is current, which is the cluster of KUBECONFIG; without it a local one is started", o.cluster)
	}
	if o.advertise == "" {
		return nil, errors.New("CLUSTER=current needs ADVERTISE_ADDRESS=<IP address>: the server runs on this machine, " +
			"and your cluster's API server has to reach it at that address, port 8443")
	}
	address := net.ParseIP(o.advertise)
	if address == nil || address.IsLoopback() || address.IsUnspecified() {
		return nil, fmt.Errorf("ADVERTISE_ADDRESS=%s: it must be an IP address of this machine that your cluster's API server can reach, not a name or a loopback address", o.advertise)
	}
	return address, nil
}

// copyCurrentKubeconfig writes what kubectl would use now to file, and says which cluster that is.
func copyCurrentKubeconfig(file string) (string, error) {
	config, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
	if err != nil {
		return "", fmt.Errorf("read KUBECONFIG: %w", err)
	}
	name := config.CurrentContext
	if err := api.MinifyConfig(config); err != nil {
		return "", fmt.Errorf("KUBECONFIG names no cluster to use: %w", err)
	}
	if err := api.FlattenConfig(config); err != nil {
		return "", fmt.Errorf("read what KUBECONFIG names: %w", err)
	}
	server := config.Clusters[config.Contexts[name].Cluster].Server
	return fmt.Sprintf("context %q at %s", name, server), clientcmd.WriteToFile(*config, file)
}

// leave takes out of the caller's cluster all that we put there, in the order that hangs nothing: the objects while the
// server can still say that they are gone, the registration, the rest. The objects go since their storage goes with us.
func (c *cluster) leave() error {
	say("Leaving your cluster: its ElasticWebs and their children, then the registration.")
	var errs []error
	// Each has its own time: a step that hangs must not keep the registration in the cluster.
	kubectl := func(args ...string) {
		ctx, cancel := context.WithTimeout(context.Background(), cleanUpLimit)
		defer cancel()
		errs = append(errs, c.quietly(ctx, args...))
	}
	if c.served {
		kubectl("delete", "elasticwebs", "--all", "--all-namespaces", "--cascade=foreground")
	}
	kubectl("delete", "apiservice", apiService, "--ignore-not-found")
	if c.madeNamespace {
		kubectl("delete", "namespace", "dev", "--ignore-not-found")
	}
	kubectl("delete", "-k", c.registration(), "--ignore-not-found")
	return errors.Join(errs...)
}
