// Package plane starts and stops a real Kubernetes control plane: etcd, kube-apiserver with the aggregation layer,
// kube-controller-manager, kube-scheduler, and, on loopback addresses, kwok in place of kubelets; or at the address of a real Node.
package plane
