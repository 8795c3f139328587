package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"elasticweb.example.com/hack/localcluster/process"
)

// Name is the Node's.
const Name = "node"

// podNetwork has the addresses of Pods.
const podNetwork = "10.244.0.0/16"

const socket = "/run/containerd/containerd.sock"

// PauseImage holds the namespaces of a Pod. It is one of the images that a Node is given.
const PauseImage = "localhost/pause:local"

// Config is what a Node is made of.
type Config struct {
	// Group runs its programs.
	Group *process.Group
	// State is the folder for its files, and Binary that of kubelet and kube-proxy.
	State, Binary string
	// Address is the Node's.
	Address string
	// ClientCA signs the certificates of those who may ask the kubelet; Kubeconfig and ProxyKubeconfig are the kubelet's and kube-proxy's.
	ClientCA, Kubeconfig, ProxyKubeconfig string
	// Images are archives that the Node has from the start.
	Images []string
}

// Start starts the Node's programs, and returns when they run; the Node is ready a little later.
func Start(ctx context.Context, c Config) error {
	dir := filepath.Join(c.State, "node")
	if err := c.write(dir); err != nil {
		return err
	}
	if err := c.Group.Run("containerd", nil, "containerd", "--config="+filepath.Join(dir, "containerd.toml")); err != nil {
		return err
	}
	if err := c.Group.Await(ctx, "containerd", func(ctx context.Context) error {
		return exec.CommandContext(ctx, "ctr", "--address="+socket, "version").Run()
	}); err != nil {
		return err
	}
	for _, image := range c.Images {
		importing, cancel := context.WithTimeout(ctx, time.Minute)
		output, err := exec.CommandContext(importing, "ctr", "--address="+socket, "--namespace=k8s.io", "images", "import", image).CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("import %s: %w: %s", image, err, output)
		}
	}
	return errors.Join(
		c.Group.Run("kubelet", nil, c.Binary, "kubelet",
			"--config="+filepath.Join(dir, "kubelet.yaml"), "--kubeconfig="+c.Kubeconfig, "--root-dir="+filepath.Join(dir, "kubelet"),
			"--cert-dir="+filepath.Join(dir, "kubelet-pki"), "--hostname-override="+Name, "--node-ip="+c.Address),
		c.Group.Run("kube-proxy", nil, c.Binary, "kube-proxy", "--config="+filepath.Join(dir, "kube-proxy.yaml"), "--hostname-override="+Name),
	)
}

// write writes the configuration of the Node's programs.
func (c Config) write(dir string) error {
	replace := strings.NewReplacer("{dir}", dir, "{socket}", socket, "{pause}", PauseImage, "{ca}", c.ClientCA, "{kubeconfig}", c.ProxyKubeconfig, "{pods}", podNetwork)
	for _, folder := range []string{"cni", "kubelet", "kubelet-pki", "pods", "containerd"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"containerd.toml": containerdConfig, "cni/10-ptp.conflist": networkConfig, "kubelet.yaml": kubeletConfig, "kube-proxy.yaml": proxyConfig,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(replace.Replace(text)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

const containerdConfig = `version = 2
root = "{dir}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Not every kernel lets root lower it.
  restrict_oom_score_adj = true
  # Whatever it serves for exec and logs is for kubelet alone.
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
`

// Each Pod has a pair of interfaces of its own, so that all its traffic is routed: over a bridge, the answers to what went to a
// Service's address would come from a Pod's.
const networkConfig = `{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "ptp",
    "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "{pods}"}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: "{ca}"}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix://{socket}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
podLogsDir: "{dir}/pods"
volumePluginDir: "{dir}/volume-plugins"
# The machine's may be a link to where only the machine has something; and Pods do not get out of it.
resolvConf: ""
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
# The disk is the machine's: its owner decides what is too full.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi}
shutdownGracePeriod: 0s
registerNode: true
`

const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: "{kubeconfig}"}
clusterCIDR: {pods}
# The machine's limits stay as they are.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
metricsBindAddress: 127.0.0.1:10249
nftables: {minSyncPeriod: 0s}
`
