package elasticweb

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"elasticweb.example.com/apis/elasticweb"
)

// The largest stored form of an object, in bytes. etcd takes 1.5 MiB, and what it does not take the library answers with a 500.
const (
	maxStoredSize = 1 << 20
	// What the user could store, the controller must be able to report on.
	maxStoredSizeWithStatus = maxStoredSize + 64<<10
)

// sizeLimit refuses what is too large to store, before it is tried.
type sizeLimit struct {
	// encoder makes the stored form.
	encoder runtime.Encoder
	max     int
}

// create returns a validation of the object as it will be stored, which runs before v: what v has admitted is counted by quotas.
func (l sizeLimit) create(v rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, obj runtime.Object) error {
		size, err := l.size(obj)
		if err != nil {
			return err
		}
		if size > l.max {
			return l.refusal(size)
		}
		return v(ctx, obj)
	}
}

// update returns a validation of the object as it will be stored, which runs before v. What is too large already may shrink, and
// may go: finalizers are taken away by updates.
func (l sizeLimit) update(v rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	return func(ctx context.Context, obj, old runtime.Object) error {
		size, err := l.size(obj)
		if err != nil {
			return err
		}
		if size > l.max && obj.(*elasticweb.ElasticWeb).DeletionTimestamp == nil {
			before, err := l.size(old)
			if err != nil {
				return err
			}
			if size > before {
				return l.refusal(size)
			}
		}
		return v(ctx, obj, old)
	}
}

func (l sizeLimit) size(obj runtime.Object) (int, error) {
	// It is not stored with the object.
	stored := *obj.(*elasticweb.ElasticWeb)
	stored.ResourceVersion = ""
	var size countingWriter
	if err := l.encoder.Encode(&stored, &size); err != nil {
		return 0, apierrors.NewInternalError(fmt.Errorf("encode the object for storage: %w", err))
	}
	return int(size), nil
}

func (l sizeLimit) refusal(size int) error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
		"the stored form of the ElasticWeb is %d bytes, and may be %d: shorten its annotations or its template", size, l.max))
}

// countingWriter counts the bytes that are written to it.
type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}
