// Package node runs a real Node: containerd, kubelet and kube-proxy, in Linux namespaces that it shares with the control plane. The
// kernel takes them away, with every process, mount and network interface in them, when we end, however that comes about. It needs
// root, and the distribution's containerd, runc and CNI plugins.
package node
