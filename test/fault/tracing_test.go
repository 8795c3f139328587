package fault

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"elasticweb.example.com/test/cluster"
)

// collector is told of spans by OTLP, and knows their names.
type collector struct {
	tracev1.UnimplementedTraceServiceServer
	mu    sync.Mutex
	names []string
}

// Export implements tracev1.TraceServiceServer.
func (c *collector) Export(_ context.Context, request *tracev1.ExportTraceServiceRequest) (*tracev1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				c.names = append(c.names, span.Name)
			}
		}
	}
	return &tracev1.ExportTraceServiceResponse{}, nil
}

// A request can be followed by the flags of kube-apiserver, down to etcd.
func TestRequestsAreTraced(t *testing.T) {
	ns := plane.Namespace(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := &collector{}
	receiver := grpc.NewServer()
	tracev1.RegisterTraceServiceServer(receiver, told)
	go func() { _ = receiver.Serve(listener) }()
	// After the server, which sends its last spans on the way down.
	t.Cleanup(receiver.Stop)
	file := filepath.Join(t.TempDir(), "tracing.yaml")
	config := fmt.Sprintf("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: %s\nsamplingRatePerMillion: 1000000\n", listener.Addr())
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	r := serve(t, "traced", append(lease(), "--tracing-config-file="+file)...)
	create(t, r.web, web(ns, "web"))
	for _, want := range []string{"Create", "etcdserverpb.KV/Txn"} {
		cluster.Eventually(t, "a span "+want, func(context.Context) (bool, string) {
			told.mu.Lock()
			defer told.mu.Unlock()
			return slices.Contains(told.names, want), fmt.Sprint(slices.Compact(slices.Sorted(slices.Values(told.names))))
		})
	}
}
