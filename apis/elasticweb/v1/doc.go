// +k8s:openapi-gen=true
// +k8s:openapi-model-package=com.example.elasticweb.v1
// +k8s:deepcopy-gen=package
// +k8s:protobuf-gen=package
// +k8s:conversion-gen=elasticweb.example.com/apis/elasticweb
// +k8s:defaulter-gen=TypeMeta
// +k8s:validation-gen=TypesWithField=TypeMeta
// +groupName=elasticweb.example.com

// Package v1 is the wire form of the API: what clients send and read, and what etcd stores.
package v1
