// Package node tests what is deployed from the manifests alone, on a real Node with real containers: kubelet, kube-proxy, containerd. It
// needs root.
package node
