package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"elasticweb.example.com/hack/localcluster/node"
	"elasticweb.example.com/hack/localcluster/plane"
)

// volumes is how many PersistentVolumes the Node has to give away.
const volumes = 20

// startRealCluster returns when the cluster can run Pods on a real Node, and kubectl get ew works, unless nothing of ours is to be in
// it. On an error nothing is left running.
func startRealCluster(ctx context.Context, o options, state *stateFolder, say func(format string, args ...any)) (_ *cluster, stop func(), err error) {
	programs, err := binary(o.nodeBinary)
	if err != nil {
		return nil, nil, err
	}
	address, _ := node.Inside()
	c, p, err := startPlane(ctx, state, &plane.Node{Name: node.Name, Address: address}, say)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	begin := time.Now()
	say("==> containerd, kubelet, kube-proxy, kube-controller-manager, kube-scheduler, CoreDNS")
	kubelet, proxy, clientCA := p.NodeKubeconfigs()
	if err := node.Start(ctx, node.Config{
		Group: p.Group, State: state.path, Binary: programs, Address: address,
		ClientCA: clientCA, Kubeconfig: kubelet, ProxyKubeconfig: proxy, Images: o.images,
	}); err != nil {
		return nil, nil, err
	}
	if err := c.offerVolumes(ctx); err != nil {
		return nil, nil, err
	}
	if err := p.StartControllers(ctx); err != nil {
		return nil, nil, err
	}
	if err := c.offerNames(ctx); err != nil {
		return nil, nil, err
	}
	say("    ready after %s; the Node is at %s", since(begin), address)
	if o.withoutServer {
		return c, p.Stop, nil
	}
	begin = time.Now()
	say("==> elasticweb-apiserver, as a Pod, from artifacts/deploy/base")
	if err := c.deploy(ctx, filepath.Join(o.artifacts, "deploy", "base")); err != nil {
		return nil, nil, err
	}
	say("    served by aggregation after %s", since(begin))
	return c, p.Stop, nil
}

// serverImage is the name of the server's image among those that a Node is given.
const serverImage = "localhost/elasticweb-apiserver"

// deploy returns when kubectl get ew works.
func (c *cluster) deploy(ctx context.Context, manifests string) error {
	dir := filepath.Join(c.state.path, "deploy")
	base, err := baseIn(dir, manifests)
	if err != nil {
		return err
	}
	kustomization := fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
images: [{name: elasticweb-apiserver, newName: %s, newTag: local}]
`, base, serverImage)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		return err
	}
	if err := c.quietly(ctx, "apply", "-k", dir); err != nil {
		return err
	}
	return c.group.Await(ctx, "the API to be served by aggregation", func(ctx context.Context) error {
		return c.quietly(ctx, "get", "elasticwebs", "--all-namespaces")
	})
}

// offerVolumes lets claims that name no class be bound to folders of the Node, each once.
func (c *cluster) offerVolumes(ctx context.Context) error {
	manifests := []string{`apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: local
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
`}
	for i := range volumes {
		folder := filepath.Join(c.state.path, "volumes", fmt.Sprint(i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		manifests = append(manifests, fmt.Sprintf(`apiVersion: v1
kind: PersistentVolume
metadata: {name: "local-%d"}
spec:
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: local
  local: {path: %q}
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]
`, i, folder, node.Name))
	}
	file := filepath.Join(c.state.path, "volumes.yaml")
	return errors.Join(os.WriteFile(file, []byte(strings.Join(manifests, "---\n")), 0o600), c.quietly(ctx, "apply", "-f", file))
}
