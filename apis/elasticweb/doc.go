// +k8s:deepcopy-gen=package
// +groupName=elasticweb.example.com

// Package elasticweb holds the hub: the version-independent form of the API that strategies, validation and storage work on.
package elasticweb
