package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// memberName is the name of the one member of the cluster.
const memberName = "embedded"

// maxSocketPath is the longest path of a unix socket that Linux accepts, in bytes.
const maxSocketPath = 107

// Config is how an etcd is run.
type Config struct {
	// Dir is the folder of its data, which is made if it is missing.
	Dir string
	// Quota is how large the data may become, in bytes. The volume of Dir must have room for it twice.
	Quota int64
}

// Etcd is a running etcd.
type Etcd struct {
	server *embed.Etcd
	lock   *fileutil.LockedFile
	client url.URL
	// logLevel is the least severity that etcd logs.
	logLevel zap.AtomicLevel
	dir      string
	quota    int64
	once     sync.Once
}

// Start runs etcd and returns when it answers. It listens on a unix socket in the folder only, which nobody but the owner may
// enter. The error says what to do if the folder is in use or cannot be used.
func Start(ctx context.Context, config Config) (*Etcd, error) {
	// A relative dir stays relative: it keeps the paths of the sockets short.
	dir := config.Dir
	socket := socketPath(dir)
	if len(socket) > maxSocketPath {
		return nil, fmt.Errorf("--data-dir %s is too long: etcd's socket in it may have at most %d characters, so choose a shorter path, or a relative one", dir, maxSocketPath)
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("--data-dir %s cannot be used: %w", dir, err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	if err := checkRoom(dir, config.Quota); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	e := &Etcd{lock: lock, client: socketURL(socket), dir: dir, quota: config.Quota, logLevel: zap.NewAtomicLevelAt(zap.WarnLevel)}
	if err := e.start(ctx, dir); err != nil {
		e.Close()
		return nil, fmt.Errorf("start the embedded etcd in --data-dir %s: %w", dir, err)
	}
	return e, nil
}

func socketPath(dir string) string { return filepath.Join(dir, "etcd.sock") }

// dataDir is where etcd has its files.
func dataDir(dir string) string { return filepath.Join(dir, "etcd") }

var errInUse = errors.New("in use by another process: stop it, or choose another folder")

// lockFolder takes the folder. etcd itself would wait for ever for another process to let go of the data.
func lockFolder(dir string) (*fileutil.LockedFile, error) {
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "lock"), os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("--data-dir %s is %w", dir, errInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("lock --data-dir %s: %w", dir, err)
	}
	return lock, nil
}

// socketURL is the address of a unix socket as etcd reads it: what looks like a host is the beginning of the path.
func socketURL(path string) url.URL {
	host, rest, found := strings.Cut(path, "/")
	if found {
		rest = "/" + rest
	}
	return url.URL{Scheme: "unix", Host: host, Path: rest}
}

func (e *Etcd) start(ctx context.Context, dir string) error {
	config := embed.NewConfig()
	config.Name = memberName
	config.Dir = dataDir(dir)
	config.QuotaBackendBytes = e.quota
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{e.client}, []url.URL{e.client}
	// A cluster of one: it needs a name for itself, and nobody ever connects to it.
	config.ListenPeerUrls = nil
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(e.logLevel))

	var err error
	if e.server, err = embed.StartEtcd(config); err != nil {
		return err
	}
	select {
	case <-e.server.Server.ReadyNotify():
		return nil
	case err := <-e.server.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Endpoint is the address that clients connect to.
func (e *Etcd) Endpoint() string { return e.client.String() }

// Err delivers the error that ends etcd, if one does: nothing works from then on.
func (e *Etcd) Err() <-chan error { return e.server.Err() }

// Close ends etcd with everything written that it acknowledged, and lets go of the data. Closing again does nothing.
func (e *Etcd) Close() {
	e.once.Do(func() {
		if e.server != nil {
			// It logs the end of its own listeners as errors.
			e.logLevel.SetLevel(zap.FatalLevel)
			e.server.Close()
		}
		// Unlocks, too. The file stays: removing it would let two processes hold locks on two files of the same name.
		_ = e.lock.Close()
	})
}

// newLogger writes what etcd has to say beside our own log, one line each, with times that can be read.
func newLogger(level zap.AtomicLevel) *zap.Logger {
	format := zap.NewProductionEncoderConfig()
	format.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(format), zapcore.Lock(os.Stderr), level)).Named("etcd")
}
