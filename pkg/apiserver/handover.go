package apiserver

import (
	"net/http"
	"sync/atomic"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
)

// buildHandlerChain is the library's, with the handover around it.
func buildHandlerChain(api http.Handler, c *genericapiserver.Config) http.Handler {
	return withHandover(genericapiserver.DefaultBuildHandlerChain(api, c), c.ShutdownInitiatedNotify(), c.ShutdownDelayDuration/2)
}

// withHandover has each connection that is still used a while after the stop has begun closed by the answer, once what is being served on
// it has been (HTTP/2: GOAWAY). A client such as kube-apiserver's proxy sends all its requests over one connection, which stays when our
// address goes from the Service: without this, the first request after the shutdown delay is refused on it.
func withHandover(handler http.Handler, stopping <-chan struct{}, after time.Duration) http.Handler {
	var leaving atomic.Bool
	go func() {
		<-stopping
		// By then the address has gone: whoever connects anew gets to another replica.
		time.Sleep(after)
		leaving.Store(true)
	}()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
}
