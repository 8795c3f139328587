package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// apiService is the name of the APIService that registers the server.
const apiService = "v1.elasticweb.example.com"

// writeRegistration writes to dir what registers a server at this port: the project's manifests, the Service that leads to it,
// and the port in the APIService.
func writeRegistration(dir, manifests, service string, port int) error {
	base, err := baseIn(dir, manifests)
	if err != nil {
		return err
	}
	kustomization := fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - %s
  - service.yaml
patches:
  - target: {kind: APIService}
    patch: |-
      - {op: replace, path: /spec/service/port, value: %d}
`, base, port)
	if err := os.WriteFile(filepath.Join(dir, "service.yaml"), []byte(service), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600)
}

// baseIn makes dir, and returns how a kustomization in it names the folder of the manifests that it builds on: by a relative path only.
func baseIn(dir, manifests string) (string, error) {
	manifests, err := filepath.Abs(manifests)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return filepath.Rel(dir, manifests)
}

// loopbackService leads to this machine's loopback address. A control plane without kube-proxy reaches a name, and no cluster
// address.
const loopbackService = `apiVersion: v1
kind: Service
metadata:
  name: elasticweb-apiserver
  namespace: elasticweb-system
spec:
  type: ExternalName
  externalName: localhost
`

// advertisedService leads to an address outside the cluster: a Service without a selector, and the endpoint that it lacks.
func advertisedService(address net.IP, port int) string {
	family := "IPv4"
	if address.To4() == nil {
		family = "IPv6"
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata:
  name: elasticweb-apiserver
  namespace: elasticweb-system
spec:
  ports:
    - name: https
      port: 443
      targetPort: %[2]d
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: elasticweb-apiserver
  namespace: elasticweb-system
  labels:
    kubernetes.io/service-name: elasticweb-apiserver
addressType: %[3]s
ports:
  - name: https
    port: %[2]d
endpoints:
  - addresses: ["%[1]s"]
`, address, port, family)
}
