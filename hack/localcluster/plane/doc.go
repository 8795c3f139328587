// Package plane starts and stops a real Kubernetes control plane on loopback addresses: etcd, kube-apiserver with the
// aggregation layer, kube-controller-manager, kube-scheduler, and kwok in place of kubelets.
package plane
