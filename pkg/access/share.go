package access

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

// reviewTimeout is how long a review may take. Who asked may have less patience.
const reviewTimeout = 10 * time.Second

// share lets identical reviews in flight share one answer: a hundred requests of one user for one object, whose answer is not
// in the cache, are one review. What is identical is decided by the bytes that would be sent.
func share(next http.RoundTripper) http.RoundTripper { return &sharing{next: next} }

type sharing struct {
	next   http.RoundTripper
	flight singleflight.Group
}

// WrappedRoundTripper lets client-go find the transport beneath.
func (s *sharing) WrappedRoundTripper() http.RoundTripper { return s.next }

// answer is a response that can be given more than once.
type answer struct {
	response http.Response
	body     []byte
}

// RoundTrip implements http.RoundTripper.
func (s *sharing) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodPost || !strings.HasSuffix(request.URL.Path, "reviews") || request.Body == nil {
		return s.next.RoundTrip(request)
	}
	body, err := io.ReadAll(request.Body)
	_ = request.Body.Close()
	if err != nil {
		return nil, err
	}
	key := request.URL.String() + "\n" + request.Header.Get("Content-Type") + "\n" + string(body)
	result := s.flight.DoChan(key, func() (any, error) {
		// Not the first one's context: the others still wait when it gives up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(request.Context()), reviewTimeout)
		defer cancel()
		sent := request.Clone(ctx)
		sent.Body = io.NopCloser(bytes.NewReader(body))
		sent.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		response, err := s.next.RoundTrip(sent)
		if err != nil {
			return nil, err
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		return &answer{response: *response, body: text}, err
	})
	select {
	case <-request.Context().Done():
		return nil, request.Context().Err()
	case shared := <-result:
		if shared.Err != nil {
			return nil, shared.Err
		}
		given := shared.Val.(*answer)
		response := given.response
		response.Header = response.Header.Clone()
		response.Request = request
		response.Body = io.NopCloser(bytes.NewReader(given.body))
		return &response, nil
	}
}
