package identity

import (
	"context"
	"net"
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"
)

// Dial returns how an external etcd is connected to: every connection is a reason to look at what is behind it.
func (g *Guard) Dial() egressselector.Lookup {
	return func(egressselector.NetworkContext) (utilnet.DialFunc, error) {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err == nil {
				// Before anybody can be answered through it.
				g.Suspect()
			}
			return connection, err
		}, nil
	}
}

// Transport lets no write through while the storage is not verified: what the controller knows may be of another storage.
func (g *Guard) Transport(next http.RoundTripper) http.RoundTripper { return &transport{g, next} }

type transport struct {
	guard *Guard
	next  http.RoundTripper
}

// WrappedRoundTripper lets client-go find the transport beneath.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet && request.Method != http.MethodHead {
		if err := t.guard.Verified(); err != nil {
			if request.Body != nil {
				_ = request.Body.Close()
			}
			return nil, err
		}
	}
	return t.next.RoundTrip(request)
}
