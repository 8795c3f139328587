package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// RaisePeriod is the least time between two rises of the number.
const RaisePeriod = 10 * time.Second

// Steward does what only the leader may: raise the number, write a lost copy again, and accept a storage.
type Steward struct {
	Guard *Guard
	// Host is the cluster with the copy.
	Host kubernetes.Interface
	// Objects tells of what is created and deleted; Prefix is where they are in etcd.
	Objects cache.SharedIndexInformer
	Prefix  string
	// Release takes our owner references from every child whose owner the storage lacks. It runs before a storage is accepted.
	Release func(ctx context.Context) (released int, err error)
	// Events are recorded on the ConfigMap.
	Events record.EventRecorder

	changed chan struct{}
	copied  cache.SharedIndexInformer
}

// Run does so until ctx ends.
func (s *Steward) Run(ctx context.Context) {
	logger := klog.FromContext(ctx).WithName("storage-identity")
	ctx = klog.NewContext(ctx, logger)
	s.changed = make(chan struct{}, 1)
	s.copied = s.Guard.newInformer(s.Host)
	notice := make(chan struct{}, 1)
	if _, err := s.copied.AddEventHandler(notifier(notice)); err != nil {
		logger.Error(err, "Cannot follow the copy of the storage identity")
		return
	}
	go s.copied.RunWithContext(ctx)
	registration, err := s.Objects.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		// Those that are there when the term begins were counted by the terms before, but for the last seconds of one that was killed.
		AddFunc: func(_ any, initially bool) {
			if !initially {
				signal(s.changed)
			}
		},
		DeleteFunc: func(any) { signal(s.changed) },
	})
	if err != nil {
		logger.Error(err, "Cannot follow the objects")
		return
	}
	defer func() { _ = s.Objects.RemoveEventHandler(registration) }()

	pending, last, said := s.uncounted(ctx), time.Time{}, ""
	ticker := time.NewTicker(recheckPeriod)
	defer ticker.Stop()
	for {
		if refusal := s.refusal(); refusal != nil {
			if said != refusal.Error() {
				said = refusal.Error()
				s.Events.Event(s.reference(), corev1.EventTypeWarning, "StorageRefused", said)
			}
			if err := s.accept(ctx, refusal); err != nil && ctx.Err() == nil {
				logger.Error(err, "Cannot accept the storage, will try again")
			}
		} else if err := s.rewrite(ctx); err != nil && ctx.Err() == nil {
			logger.Error(err, "Cannot write the copy of the storage identity, will try again")
		}
		if pending && s.copied.HasSynced() && time.Since(last) >= RaisePeriod {
			last = time.Now()
			if err := s.raise(ctx); err == nil {
				pending = false
			} else if ctx.Err() == nil {
				logger.Error(err, "Cannot raise the number of the storage identity, will try again", "after", RaisePeriod)
			}
		}
		var tick <-chan time.Time
		if pending || s.refusal() != nil {
			tick = ticker.C
		}
		select {
		case <-ctx.Done():
			select {
			case <-s.changed:
				pending = true
			default:
			}
			if pending {
				// The lease is still ours until this returns.
				final, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
				defer cancel()
				if err := s.raise(final); err != nil {
					logger.Error(err, "Cannot raise the number of the storage identity before the end")
				}
			}
			return
		case <-s.changed:
			pending = true
		case <-notice:
		case <-s.Guard.refused:
		case <-tick:
		}
	}
}

func notifier(channel chan struct{}) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { signal(channel) },
		UpdateFunc: func(any, any) { signal(channel) },
		DeleteFunc: func(any) { signal(channel) },
	}
}

func signal(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

func (s *Steward) refusal() *Refusal {
	var refusal *Refusal
	errors.As(s.Guard.Verified(), &refusal)
	return refusal
}

func (s *Steward) reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: s.Guard.config.Namespace, Name: s.Guard.config.Name}
}

// uncounted says whether something was created since the number last rose: by a leader that was killed before it could.
func (s *Steward) uncounted(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	_, response, err := s.Guard.read(ctx)
	if err != nil {
		// A rise that was not needed costs nothing.
		return true
	}
	if len(response.Kvs) == 0 {
		return false
	}
	// Not by the count: etcd does not filter that.
	newer, err := s.Guard.config.Etcd.Get(ctx, s.Prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1),
		clientv3.WithMinCreateRev(response.Kvs[0].ModRevision+1))
	return err != nil || len(newer.Kvs) > 0
}

// raise lets the number rise, in the storage first: a copy that is behind refuses nothing.
func (s *Steward) raise(ctx context.Context) error {
	if err := s.Guard.Verified(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s.Guard.mu.Lock()
	known := s.Guard.known()
	s.Guard.mu.Unlock()
	stored, response, err := s.Guard.read(ctx)
	if err != nil {
		return err
	}
	if len(response.Kvs) == 0 {
		s.Guard.Suspect()
		return errors.New("the identity has gone from the storage")
	}
	if reason := disagreement(stored, known); reason != "" {
		// Exchanged since it was verified: what is there must not become the copy.
		s.Guard.Suspect()
		return errors.New(reason)
	}
	raised := Identity{ID: stored.ID, Number: stored.Number + 1}
	if err := s.store(ctx, response, raised); err != nil {
		return err
	}
	return s.copy(ctx, raised)
}

// store writes the identity, unless it has changed since it was read.
func (s *Steward) store(ctx context.Context, read *clientv3.GetResponse, identity Identity) error {
	key, revision := s.Guard.config.Key, int64(0)
	if len(read.Kvs) > 0 {
		revision = read.Kvs[0].ModRevision
	}
	response, err := s.Guard.config.Etcd.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(clientv3.OpPut(key, identity.String())).Commit()
	if err != nil {
		return err
	}
	if !response.Succeeded {
		return errors.New("the storage identity was written by somebody else meanwhile")
	}
	return nil
}

// copy writes the copy.
func (s *Steward) copy(ctx context.Context, identity Identity) error {
	current := s.seen()
	if current == nil {
		return s.Guard.createCopy(ctx, s.Host, identity)
	}
	return s.write(ctx, current.DeepCopy(), identity)
}

// write writes the copy, and takes back an acceptance: it was for what was there before.
func (s *Steward) write(ctx context.Context, current *corev1.ConfigMap, identity Identity) error {
	current.Data = map[string]string{dataKey: identity.String()}
	delete(current.Annotations, AcceptAnnotation)
	delete(current.Annotations, acceptingAnnotation)
	updated, err := s.Host.CoreV1().ConfigMaps(s.Guard.config.Namespace).Update(ctx, current, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("write ConfigMap %s: %w", s.Guard.location(), err)
	}
	return s.Guard.learn(updated)
}

// seen is the ConfigMap with the copy, from the cache. Nil: there is none.
func (s *Steward) seen() *corev1.ConfigMap {
	for _, object := range s.copied.GetStore().List() {
		return object.(*corev1.ConfigMap)
	}
	return nil
}

// rewrite makes a copy that somebody has deleted anew.
func (s *Steward) rewrite(ctx context.Context) error {
	if !s.copied.HasSynced() || s.seen() != nil || s.Guard.Verified() != nil {
		return nil
	}
	stored, _, err := s.Guard.read(ctx)
	if err != nil || stored.Number == 0 {
		return err
	}
	klog.FromContext(ctx).Info("Warning: the copy of the storage identity was deleted, and is written again", "configMap", s.Guard.location(), "identity", stored.String())
	return s.Guard.createCopy(ctx, s.Host, stored)
}

// acceptingAnnotation, on the ConfigMap, is the identity that an accepted storage is about to get.
const acceptingAnnotation = "elasticweb.example.com/accepting-storage"

// accept takes the storage that an administrator has named, if it is the one that is there.
func (s *Steward) accept(ctx context.Context, refusal *Refusal) error {
	current := s.seen()
	if current == nil || current.Annotations[AcceptAnnotation] == "" {
		return nil
	}
	config := s.Guard.config
	// As it is now: after our own write the cache is behind.
	current, err := s.Host.CoreV1().ConfigMaps(config.Namespace).Get(ctx, config.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	asked := current.Annotations[AcceptAnnotation]
	if asked == "" {
		return nil
	}
	stored, response, err := s.Guard.read(ctx)
	if err != nil {
		return err
	}
	if current.Annotations[acceptingAnnotation] == stored.String() {
		// Who did the rest has not come to this.
		return s.take(ctx, asked, stored, 0)
	}
	accepted, err := Parse(asked)
	if err == nil && accepted != stored {
		err = fmt.Errorf("the storage is %s, not %s", stored, asked)
	}
	if err != nil {
		return fmt.Errorf("annotation %s: %w", AcceptAnnotation, err)
	}
	klog.FromContext(ctx).Info("Accepting the storage", "stored", stored.String(), "copied", refusal.Copied.String())
	released, err := s.Release(ctx)
	if err != nil {
		return fmt.Errorf("take owner references from children whose owner the storage lacks: %w", err)
	}
	// Above both: whatever has either of them is older.
	taken := Identity{ID: stored.ID, Number: max(stored.Number, refusal.Copied.Number) + 1}
	if stored.Number == 0 {
		taken = newIdentity()
	}
	current.Annotations[acceptingAnnotation] = taken.String()
	if _, err := s.Host.CoreV1().ConfigMaps(config.Namespace).Update(ctx, current, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("write ConfigMap %s: %w", s.Guard.location(), err)
	}
	if err := s.store(ctx, response, taken); err != nil {
		return err
	}
	return s.take(ctx, asked, taken, released)
}

// take makes the copy say what the storage says.
func (s *Steward) take(ctx context.Context, asked string, taken Identity, released int) error {
	current, err := s.Host.CoreV1().ConfigMaps(s.Guard.config.Namespace).Get(ctx, s.Guard.config.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := s.write(ctx, current, taken); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Accepted the storage", "identity", taken.String(), "released", released)
	s.Events.Eventf(s.reference(), corev1.EventTypeNormal, "StorageAccepted", "accepted %s, which is %s now; %d Deployments and Services live on without an owner until their ElasticWeb is applied again, with the totalQPS that they run with", asked, taken, released)
	return nil
}
