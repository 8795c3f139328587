package servingcert

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Keeper makes the Secret, and renews what is in it when it is due. Two keepers do not harm each other: each writes only what it
// has seen last.
type Keeper struct {
	client          kubernetes.Interface
	namespace, name string
	rules           Rules
	now             func() time.Time
	// last is what the Secret held when it was last seen, in case that it is deleted.
	last map[string][]byte
}

// NewKeeper returns a keeper of that Secret.
func NewKeeper(client kubernetes.Interface, namespace, name string, rules Rules) *Keeper {
	return &Keeper{client: client, namespace: namespace, name: name, rules: rules, now: time.Now}
}

// Keep does what is due, makes the Secret if there is none, and returns the Secret as it is then. due is when there is more to do.
func (k *Keeper) Keep(ctx context.Context) (secret *corev1.Secret, due time.Time, err error) {
	secrets := k.client.CoreV1().Secrets(k.namespace)
	found, err := secrets.Get(ctx, k.name, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, due, fmt.Errorf("read Secret %s/%s: %w", k.namespace, k.name, err)
	}
	data := k.last
	if !missing {
		data = found.Data
	}
	held := parse(data)
	// Who deletes the Secret wants a new authority. The old one is still trusted meanwhile, so that nothing fails.
	did, due, err := held.renew(k.rules, k.now(), missing && k.last != nil)
	if err != nil {
		return nil, due, err
	}
	if did == "" && !missing {
		k.last = found.Data
		return found, due, nil
	}
	if data, err = held.encode(); err != nil {
		return nil, due, err
	}
	if missing {
		secret, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: k.name}, Type: corev1.SecretTypeTLS, Data: data,
		}, metav1.CreateOptions{})
	} else {
		found.Data = data
		secret, err = secrets.Update(ctx, found, metav1.UpdateOptions{})
	}
	if err != nil {
		return nil, due, fmt.Errorf("write Secret %s/%s: %w", k.namespace, k.name, err)
	}
	klog.FromContext(ctx).Info("Renewed the serving certificate", "did", did, "secret", klog.KRef(k.namespace, k.name),
		"notAfter", held.leaf.cert.NotAfter.Format(time.RFC3339), "next", due.Format(time.RFC3339))
	k.last = secret.Data
	return secret, due, nil
}

// Run keeps the Secret until ctx ends: when something is due, and when somebody changes or deletes it.
func (k *Keeper) Run(ctx context.Context) {
	logger := klog.FromContext(ctx).WithName("serving-certificate")
	ctx = klog.NewContext(ctx, logger)
	informer := newSecretInformer(k.client, k.namespace, k.name)
	changed := make(chan struct{}, 1)
	notify := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: notify, UpdateFunc: func(_, object any) { notify(object) }, DeleteFunc: notify}); err != nil {
		logger.Error(err, "Cannot watch the Secret")
		return
	}
	go informer.RunWithContext(ctx)

	// A failure is tried again soon: certificates do not wait.
	const pause = time.Second
	for {
		_, due, err := k.Keep(ctx)
		wait := max(due.Sub(k.now()), 0)
		if err != nil && ctx.Err() == nil {
			wait = pause
			if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !errors.Is(err, context.Canceled) {
				logger.Error(err, "Cannot keep the serving certificate, will try again")
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}
