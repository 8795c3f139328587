package elasticweb

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"

	"elasticweb.example.com/apis/elasticweb"
)

// maxStoredSize is the largest stored form of an object, in bytes. etcd takes 1.5 MiB, and what it does not take the library
// answers with a 500.
const maxStoredSize = 1 << 20

// sizeLimit refuses what is too large to store, before it is tried.
type sizeLimit struct {
	// encoder makes the stored form.
	encoder runtime.Encoder
}

func (l sizeLimit) beginCreate(_ context.Context, obj runtime.Object, _ *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
	return finish, l.check(obj)
}

func (l sizeLimit) beginUpdate(_ context.Context, obj, _ runtime.Object, _ *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
	return finish, l.check(obj)
}

func finish(context.Context, bool) {}

func (l sizeLimit) check(obj runtime.Object) error {
	// It is not stored with the object.
	stored := *obj.(*elasticweb.ElasticWeb)
	stored.ResourceVersion = ""
	var size countingWriter
	if err := l.encoder.Encode(&stored, &size); err != nil {
		return apierrors.NewInternalError(fmt.Errorf("encode the object for storage: %w", err))
	}
	if size > maxStoredSize {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"the stored form of the ElasticWeb is %d bytes, and may be %d: shorten its annotations or its template", size, maxStoredSize))
	}
	return nil
}

// countingWriter counts the bytes that are written to it.
type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}
