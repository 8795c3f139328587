package integration

import (
	"bytes"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	registry "elasticweb.example.com/pkg/registry/elasticweb"
)

const prefix = "/registry/elasticweb.example.com/elasticwebs/"

func stored(t *testing.T, key string, options ...clientv3.OpOption) *clientv3.GetResponse {
	t.Helper()
	response, err := server.etcd.Get(t.Context(), key, options...)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func TestObjectsAreStoredAsProtobuf(t *testing.T) {
	create(t, sample("web"))

	response := stored(t, prefix+namespace(t)+"/web")
	if len(response.Kvs) != 1 {
		t.Fatalf("%d keys at %s, want 1", len(response.Kvs), prefix+namespace(t)+"/web")
	}
	if value := response.Kvs[0].Value; !bytes.HasPrefix(value, []byte("k8s\x00")) {
		t.Errorf("the stored bytes begin with %q, want \"k8s\\x00\", the mark of protobuf", value[:min(len(value), 16)])
	}
}

func TestUIDsAreThoseInTheStorage(t *testing.T) {
	web := create(t, sample("web"))
	uids, err := registry.UIDs(t.Context(), server.storage)
	if err != nil {
		t.Fatal(err)
	}
	if !uids.Has(web.UID) || uids.Has("another") {
		t.Errorf("UIDs %v, want %s among them", uids, web.UID)
	}
}
