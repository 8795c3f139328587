package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

const (
	// AcceptAnnotation, on the ConfigMap, is how an administrator takes a storage that the guard has refused: <id>/<number>.
	AcceptAnnotation = "elasticweb.example.com/accept-storage"
	// dataKey of the ConfigMap holds the copy.
	dataKey = "identity"
	// checkTimeout is how long one look at the storage may take.
	checkTimeout = 5 * time.Second
	// recheckPeriod is how often a storage that is not verified is looked at again.
	recheckPeriod = time.Second
)

// ErrExchanged ends a server that may serve what is there now, and has seen another storage before: its caches may be of that, and
// a watch that waits for a revision of the other one would wait for ever.
var ErrExchanged = errors.New("the storage is the right one, and is not the one that was there before, which the caches are of: a new start is needed")

// Config is what a Guard works with.
type Config struct {
	// Etcd is the storage, and Key where the identity is in it.
	Etcd *clientv3.Client
	Key  string
	// Host is the cluster that has the copy, in the ConfigMap Namespace/Name.
	Host            kubernetes.Interface
	Namespace, Name string
}

// Guard says whether the storage is the right one. It is safe for concurrent use.
type Guard struct {
	config Config
	flight singleflight.Group
	// suspected has room for one notice that the storage is to be looked at.
	suspected chan struct{}
	// refused has room for one notice that the storage was refused.
	refused chan struct{}

	mu sync.Mutex
	// copied is the copy as it was last seen. Zero: there is none.
	copied Identity
	// highest number and revision that this process has seen in the storage.
	number, revision int64
	// suspicions counts the reasons to look again; verified is the count that the last look answered. Equal: all is well.
	suspicions, verified uint64
	// watches are open: they end when there is a doubt.
	watches map[*guardedWatch]struct{}
	// looks is the number of looks that have begun.
	looks uint64
	// found is what the last look found, and refusal what is wrong with it. Nil and not verified: nobody knows.
	found   Identity
	refusal *Refusal
	// unknown is why the last look found nothing out.
	unknown error
}

// Refusal says why a storage is not served from, and what to do.
type Refusal struct {
	Reason         string
	Stored, Copied Identity
	configMap      string
}

// Error implements error.
func (r *Refusal) Error() string {
	namespace, name, _ := strings.Cut(r.configMap, "/")
	return fmt.Sprintf("storage identity: %s. It is %s, and ConfigMap %s says %s. Nothing is served from it, because the cluster would delete the Deployments and Services of every ElasticWeb that it lacks. "+
		"Either restore the right data; or accept this storage, which leaves those Deployments and Services in place without an owner: "+
		"kubectl annotate configmap -n %s %s --overwrite %s=%s",
		r.Reason, r.Stored, r.configMap, r.Copied, namespace, name, AcceptAnnotation, r.Stored)
}

// New returns a guard that has verified nothing yet.
func New(config Config) *Guard {
	return &Guard{config: config, suspicions: 1, suspected: make(chan struct{}, 1), refused: make(chan struct{}, 1), watches: map[*guardedWatch]struct{}{}}
}

// Begin reads the copy, and looks at the storage for the first time. At a first install it gives both an identity. An error
// says that it is not known whether the storage is the right one; a storage that is refused is no error here.
func (g *Guard) Begin(ctx context.Context) error {
	configMap, err := g.readCopy(ctx)
	if err != nil {
		return err
	}
	if configMap == nil {
		if err := g.firstInstall(ctx); err != nil {
			return err
		}
	}
	err = g.look(ctx)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		klog.FromContext(ctx).Error(nil, "Locked: "+refusal.Error())
		return nil
	}
	return err
}

// readCopy returns nil if there is none.
func (g *Guard) readCopy(ctx context.Context) (*corev1.ConfigMap, error) {
	configMap, err := g.config.Host.CoreV1().ConfigMaps(g.config.Namespace).Get(ctx, g.config.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s: %w", g.location(), err)
	}
	return configMap, g.learn(configMap)
}

// learn takes over the copy of the ConfigMap.
func (g *Guard) learn(configMap *corev1.ConfigMap) error {
	copied, err := Parse(configMap.Data[dataKey])
	if err != nil {
		return fmt.Errorf("ConfigMap %s: data.%s: %w", g.location(), dataKey, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if copied != g.copied {
		if copied.ID != g.copied.ID {
			// An administrator has accepted a storage.
			g.number = 0
		}
		g.copied = copied
		switch {
		case g.refusal == nil && copied.ID == g.found.ID:
			// The leader lets it rise, every few seconds while objects come and go. Watches need not end for that.
			signal(g.suspected)
		case g.refusal != nil || disagreement(g.found, copied) != "":
			// With what is known of the storage it may be right, or wrong, now.
			g.suspect()
		}
	}
	return nil
}

// firstInstall gives the storage an identity if it has none, and copies it. Of several replicas that do this at a time the
// first one counts, in each step.
func (g *Guard) firstInstall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	response, err := g.config.Etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(g.config.Key), "=", 0)).
		Then(clientv3.OpPut(g.config.Key, newIdentity().String()), clientv3.OpGet(g.config.Key)).
		Else(clientv3.OpGet(g.config.Key)).
		Commit()
	if err != nil {
		return fmt.Errorf("write the storage identity: %w", err)
	}
	last := response.Responses[len(response.Responses)-1].GetResponseRange()
	stored, err := Parse(string(last.Kvs[0].Value))
	if err != nil {
		return fmt.Errorf("etcd key %s: %w", g.config.Key, err)
	}
	logger := klog.FromContext(ctx)
	if response.Succeeded {
		logger.Info("First install: the storage has its identity now", "identity", stored.String())
	} else {
		logger.Info("Warning: the copy of the storage identity was missing, and is written again", "identity", stored.String(), "configMap", g.location())
	}
	return g.createCopy(ctx, g.config.Host, stored)
}

func (g *Guard) createCopy(ctx context.Context, host kubernetes.Interface, stored Identity) error {
	created, err := host.CoreV1().ConfigMaps(g.config.Namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.config.Namespace, Name: g.config.Name},
		Data:       map[string]string{dataKey: stored.String()},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = g.readCopy(ctx)
		return err
	}
	if err != nil {
		return fmt.Errorf("create ConfigMap %s: %w", g.location(), err)
	}
	return g.learn(created)
}

// Suspect says that the storage may have been exchanged: what is answered from now on waits until it has been looked at.
func (g *Guard) Suspect() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.suspect()
}

// suspect needs the mutex.
func (g *Guard) suspect() {
	g.suspicions++
	signal(g.suspected)
	for watch := range g.watches {
		// What it would tell next may be of another storage, and a deletion that is told is as good as a 404.
		watch.Interface.Stop()
	}
	clear(g.watches)
}

// Verified returns nil while there is no reason to doubt the storage. It asks nobody.
func (g *Guard) Verified() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.verified == g.suspicions:
		return nil
	case g.refusal != nil:
		return g.refusal
	case g.unknown != nil:
		return g.unknown
	default:
		return errors.New("storage identity: not verified yet")
	}
}

// Verify looks at the storage if there is a reason to. The error is an API status, 503, with the reason.
func (g *Guard) Verify(ctx context.Context) error {
	for g.Verified() != nil {
		if err := g.Confirm(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Confirm looks at the storage, reason or not: before it is said that an object does not exist. The look begins after the call.
func (g *Guard) Confirm(ctx context.Context) error {
	g.mu.Lock()
	before := g.looks
	g.mu.Unlock()
	for {
		// Not the caller's context: others wait for the same look.
		result := g.flight.DoChan("", func() (any, error) {
			g.mu.Lock()
			g.looks++
			this := g.looks
			g.mu.Unlock()
			return this, g.look(context.WithoutCancel(ctx))
		})
		select {
		case <-ctx.Done():
			return apierrors.NewServiceUnavailable("storage identity: " + ctx.Err().Error())
		case looked := <-result:
			if looked.Err != nil {
				return apierrors.NewServiceUnavailable(looked.Err.Error())
			}
			if looked.Val.(uint64) > before {
				return nil
			}
		}
	}
}

// look compares the storage with the copy, by a quorum read.
func (g *Guard) look(ctx context.Context) error {
	g.mu.Lock()
	answers := g.suspicions
	// Before the storage is read: there the number rises first, so it has at least this one.
	copied := g.known()
	g.mu.Unlock()
	stored, response, err := g.read(ctx)

	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.unknown = fmt.Errorf("storage identity: it cannot be read: %w", err)
		return g.unknown
	}
	g.unknown, g.found = nil, stored
	if reason := disagreement(stored, copied); reason != "" {
		refusal := &Refusal{Reason: reason, Stored: stored, Copied: copied, configMap: g.location()}
		if g.refusal == nil || *g.refusal != *refusal {
			signal(g.refused)
		}
		g.refusal = refusal
		g.doubt()
		locked.Set(1)
		return g.refusal
	}
	if g.refusal != nil || response.Header.Revision < g.revision {
		// Not verified: what the caches hold must not be answered any more.
		g.unknown = ErrExchanged
		g.doubt()
		return ErrExchanged
	}
	g.revision = response.Header.Revision
	// Unless another storage was accepted while the answer was on its way.
	if stored.ID == g.copied.ID {
		g.number = stored.Number
	}
	g.verified = max(g.verified, answers)
	locked.Set(0)
	return nil
}

// doubt makes sure that the storage counts as not verified, although nobody suspected anything. It needs the mutex.
func (g *Guard) doubt() {
	if g.verified == g.suspicions {
		g.suspect()
	}
}

// known is the copy, and what this process has seen itself: the copy may be some seconds behind. It needs the mutex.
func (g *Guard) known() Identity {
	return Identity{ID: g.copied.ID, Number: max(g.copied.Number, g.number)}
}

func (g *Guard) read(ctx context.Context) (Identity, *clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	response, err := g.config.Etcd.Get(ctx, g.config.Key)
	if err != nil {
		return Identity{}, nil, err
	}
	if len(response.Kvs) == 0 {
		return Identity{}, response, nil
	}
	stored, err := Parse(string(response.Kvs[0].Value))
	if err != nil {
		return Identity{}, nil, fmt.Errorf("etcd key %s: %w", g.config.Key, err)
	}
	return stored, response, nil
}

// Check is a health check.
func (g *Guard) Check(request *http.Request) error { return g.Verify(request.Context()) }

func (g *Guard) location() string { return g.config.Namespace + "/" + g.config.Name }
