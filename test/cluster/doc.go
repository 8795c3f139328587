// Package cluster gives tests a local Kubernetes of their own, and kubectl for it.
package cluster
