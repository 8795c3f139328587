// Package e2e tests the product as its users meet it: with kubectl and the generated client, against a local control plane of
// real components.
package e2e
