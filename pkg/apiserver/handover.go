package apiserver

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// buildHandlerChain is the library's, with the handover inside, where it is known what a request is for.
func buildHandlerChain(api http.Handler, c *genericapiserver.Config) http.Handler {
	return genericapiserver.DefaultBuildHandlerChain(withHandover(api, c.ShutdownInitiatedNotify(), c.ShutdownDelayDuration/2), c)
}

// withHandover has each connection that is still used a while after the stop has begun closed by the answer, once what is being served on
// it has been (HTTP/2: GOAWAY). A client such as kube-apiserver's proxy sends all its requests over one connection, which stays when our
// address goes from the Service: without this, the first request after the shutdown delay is refused on it. Watches that are older are
// ended then, spread over half as long again: a client that only watches comes back on the same connection, and so learns that it is to
// be left.
func withHandover(handler http.Handler, stopping <-chan struct{}, after time.Duration) http.Handler {
	leaving, leave := context.WithCancel(context.Background())
	go func() {
		<-stopping
		// By then the address has gone: whoever connects anew gets to another replica.
		time.Sleep(after)
		leave()
	}()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leaving.Err() != nil {
			w.Header().Set("Connection", "close")
		} else if info, ok := apirequest.RequestInfoFrom(r.Context()); ok && info.Verb == "watch" {
			ctx, end := context.WithCancel(r.Context())
			stay := context.AfterFunc(leaving, func() {
				// They do not all come at once to the other replicas.
				time.Sleep(rand.N(after/2 + 1))
				end()
			})
			// Not when ServeHTTP returns: with the feature APIServingWithRoutine a watch is served after that.
			context.AfterFunc(r.Context(), func() {
				stay()
				end()
			})
			r = r.WithContext(ctx)
		}
		handler.ServeHTTP(w, r)
	})
}
