package options

import (
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/apiserver"
	"elasticweb.example.com/pkg/leader"
	"elasticweb.example.com/pkg/storage/embedded"
)

const (
	etcdPrefix = "/registry"
	protobuf   = "application/vnd.kubernetes.protobuf"
)

// Options are the flags of the server.
type Options struct {
	ServerRun   *genericoptions.ServerRunOptions
	Etcd        *genericoptions.EtcdOptions
	Recommended *genericoptions.RecommendedOptions
	Logs        *logs.Options

	// DataDir is the folder of the embedded etcd.
	DataDir string
	// EtcdQuota is how large the data of the embedded etcd may become, in bytes.
	EtcdQuota int64
	// Snapshots are saved of the embedded etcd.
	Snapshots embedded.Schedule
	// ServingCertSecret is the Secret of the serving certificate, in ServiceNamespace.
	ServingCertSecret string
	// ExternalServingCert: somebody else keeps that Secret.
	ExternalServingCert bool
	// ServingCertLifetime and ServingCertCALifetime are how long a serving certificate, and its authority, are good for.
	ServingCertLifetime, ServingCertCALifetime time.Duration
	// ServiceName and ServiceNamespace are the Service through which the aggregation layer reaches the server.
	ServiceName, ServiceNamespace string
	// NodePorts is the range that spec.port must lie in.
	NodePorts utilnet.PortRange
	// MaxReplicas is the largest number of replicas of one ElasticWeb.
	MaxReplicas int32
	// PerObjectMetrics: /metrics has gauges of each ElasticWeb.
	PerObjectMetrics bool
	// ProgressDeadline is how long a rollout may get no further before it counts as failed.
	ProgressDeadline time.Duration
	// LeaderElection are the times of the Lease.
	LeaderElection leader.Times
	// HostQPS and HostBurst limit the controller's requests to the host cluster, in requests per second; below 0: no limit.
	HostQPS   float32
	HostBurst int
	// ConcurrentSyncs is the number of ElasticWebs that the controller works on at a time.
	ConcurrentSyncs int

	// embeds: no etcd was given, so one runs within.
	embeds bool
}

// New returns the defaults.
func New() *Options {
	o := &Options{
		ServerRun:   genericoptions.NewServerRunOptions(),
		Recommended: genericoptions.NewRecommendedOptions(etcdPrefix, apiserver.Codecs.LegacyCodec(v1.SchemeGroupVersion)),
		Logs:        logs.NewOptions(),
		DataDir:     "/var/lib/" + apiserver.Name,
		EtcdQuota:   1 << 30,
		Snapshots:   embedded.Schedule{Keep: 7},

		ServingCertSecret:     apiserver.Name + "-serving-cert",
		ServingCertLifetime:   30 * 24 * time.Hour,
		ServingCertCALifetime: 10 * 365 * 24 * time.Hour,

		ServiceName:      apiserver.Name,
		ServiceNamespace: "elasticweb-system",
		NodePorts:        utilnet.PortRange{Base: 30000, Size: 2768},
		MaxReplicas:      1000,
		ConcurrentSyncs:  16,
		PerObjectMetrics: true,
		ProgressDeadline: 10 * time.Minute,
		LeaderElection:   leader.Times{LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: time.Second},
		// The host's priority and fairness protects it better than a limit here.
		HostQPS:   -1,
		HostBurst: 200,
	}
	// Recommended would apply its etcd options without their media type, and store JSON.
	o.Etcd, o.Recommended.Etcd = o.Recommended.Etcd, nil
	o.Etcd.DefaultStorageMediaType = protobuf
	o.Etcd.StorageConfig.Type = storagebackend.StorageTypeETCD3
	// The library leaves these to whoever knows of them. Endpoints know of a stop some seconds late, and what comes meanwhile is told
	// to come again.
	o.ServerRun.ShutdownDelayDuration = 10 * time.Second
	o.ServerRun.ShutdownSendRetryAfter = true
	// Without it, whoever watches holds up the stop for a minute.
	o.ServerRun.ShutdownWatchTerminationGracePeriod = 10 * time.Second
	// kube-apiserver has sent X-Remote-Uid for longer than any release that is supported.
	o.Recommended.Authentication.RequestHeader.UIDHeaders = []string{"x-remote-uid"}
	addPlugins(o.Recommended.Admission)
	o.Recommended.SecureServing.BindPort = 8443
	// For TLS 1.2, the least that is spoken; 1.3 has only such.
	o.Recommended.SecureServing.CipherSuites = []string{
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	}
	o.Recommended.SecureServing.MinTLSVersion = "VersionTLS12"
	// Nothing is made in a folder: the certificate is in a Secret, or in files that are given.
	o.Recommended.SecureServing.ServerCert.CertDirectory = ""
	o.Recommended.SecureServing.ServerCert.PairName = ""
	o.Recommended.Features.EnableProfiling = false
	return o
}

// Flags returns the flags in named sets, as --help shows them.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var sets cliflag.NamedFlagSets
	elasticweb := sets.FlagSet("ElasticWeb")
	elasticweb.Var(&o.NodePorts, "service-node-port-range",
		"The range that spec.port of an ElasticWeb must lie in. Give the host cluster's kube-apiserver's.")
	elasticweb.Int32Var(&o.MaxReplicas, "max-replicas-per-elasticweb", o.MaxReplicas,
		"The largest number of replicas that one ElasticWeb gets, whatever its totalQPS. 1 or more.")
	elasticweb.IntVar(&o.ConcurrentSyncs, "concurrent-elasticweb-syncs", o.ConcurrentSyncs,
		"The number of ElasticWebs that the controller works on at a time. 1 or more.")
	elasticweb.DurationVar(&o.ProgressDeadline, "rollout-progress-deadline", o.ProgressDeadline,
		"How long a rollout may get no further before the ElasticWeb is Stalled with reason ProgressDeadlineExceeded. Whole seconds, 1s or more.")
	elasticweb.BoolVar(&o.PerObjectMetrics, "elasticweb-metrics", o.PerObjectMetrics,
		"Have gauges of each ElasticWeb in /metrics: elasticweb_total_qps, elasticweb_real_qps, elasticweb_desired_replicas, elasticweb_ready_replicas and elasticweb_condition.")

	election := sets.FlagSet("leader election")
	election.DurationVar(&o.LeaderElection.LeaseDuration, "leader-elect-lease-duration", o.LeaderElection.LeaseDuration,
		"How long the other replicas wait before they take over from a leader that does not renew its lease. Whole seconds.")
	election.DurationVar(&o.LeaderElection.RenewDeadline, "leader-elect-renew-deadline", o.LeaderElection.RenewDeadline,
		"How long the leader tries to renew its lease before it stops leading. At least one retry period shorter than the lease duration.")
	election.DurationVar(&o.LeaderElection.RetryPeriod, "leader-elect-retry-period", o.LeaderElection.RetryPeriod,
		"The time between two attempts to take or to renew the lease.")

	registration := sets.FlagSet("registration")
	registration.StringVar(&o.ServiceName, "service-name", o.ServiceName,
		"The name of the Service through which the aggregation layer reaches this server. The serving certificate is made for it.")
	registration.StringVar(&o.ServiceNamespace, "service-namespace", o.ServiceNamespace, "The namespace of that Service.")

	registration.StringVar(&o.ServingCertSecret, "serving-cert-secret", o.ServingCertSecret,
		"The Secret, in --service-namespace, that holds the serving certificate and its authority for all replicas. The server makes and renews it. Not used with --tls-cert-file.")
	registration.BoolVar(&o.ExternalServingCert, "serving-cert-secret-external", o.ExternalServingCert,
		"Somebody else, such as cert-manager, makes and renews --serving-cert-secret: tls.crt, tls.key and ca.crt. The server follows it, and publishes ca.crt in its APIService.")
	registration.DurationVar(&o.ServingCertLifetime, "serving-cert-lifetime", o.ServingCertLifetime,
		"How long a serving certificate that the server makes is good for. It is renewed when a third of that is left. 10s or more.")
	registration.DurationVar(&o.ServingCertCALifetime, "serving-cert-ca-lifetime", o.ServingCertCALifetime,
		"How long a certificate authority that the server makes is good for: at least four times --serving-cert-lifetime. It is replaced, without a gap, when two lifetimes of a serving certificate are left.")

	embeddedEtcd := sets.FlagSet("embedded etcd")
	embeddedEtcd.StringVar(&o.DataDir, "data-dir", o.DataDir,
		"The folder of the embedded etcd, which runs when --etcd-servers is not given.")
	embeddedEtcd.Int64Var(&o.EtcdQuota, "embedded-etcd-quota-backend-bytes", o.EtcdQuota,
		"How large the data of the embedded etcd may become. The volume of --data-dir must have room for twice as much. When it is exceeded, writes are refused until the server has made room. 16777216 or more.")
	embeddedEtcd.DurationVar(&o.Snapshots.Interval, "embedded-etcd-snapshot-interval", o.Snapshots.Interval,
		"The time between two snapshots of the embedded etcd. 0: none are saved. 1m or more.")
	embeddedEtcd.StringVar(&o.Snapshots.Dir, "embedded-etcd-snapshot-dir", o.Snapshots.Dir,
		"The folder of the snapshots; better on another volume. Default: snapshots in --data-dir.")
	embeddedEtcd.IntVar(&o.Snapshots.Keep, "embedded-etcd-snapshot-retention", o.Snapshots.Keep,
		"How many snapshots are kept, the newest. 1 or more.")

	// There is one kind of object, and one storage that is guarded.
	addAllBut(sets.FlagSet("etcd"), o.Etcd.AddFlags, "etcd-servers-overrides")

	o.ServerRun.AddUniversalFlags(sets.FlagSet("generic"))
	host := sets.FlagSet("host cluster")
	o.Recommended.CoreAPI.AddFlags(host)
	host.Float32Var(&o.HostQPS, "kube-api-qps", o.HostQPS,
		"The requests per second that the controller may send to the host cluster. Below 0: no limit; the host's priority and fairness protects it better.")
	host.IntVar(&o.HostBurst, "kube-api-burst", o.HostBurst,
		"The requests that the controller may send at once above --kube-api-qps. 1 or more.")
	host.Lookup("kubeconfig").Usage = "The kubeconfig of the host cluster. It serves delegated authentication and authorization, too, unless they have their own. In a Pod it is not needed."
	// Nothing is made in a folder: see New.
	addAllBut(sets.FlagSet("secure serving"), o.Recommended.SecureServing.AddFlags, "cert-dir")
	sets.FlagSet("secure serving").Lookup("tls-cert-file").Usage = "File with the serving certificate, and the certificates between it and its authority. It is read again when it changes. Without it the serving certificate is in --serving-cert-secret."
	o.Recommended.Authentication.AddFlags(sets.FlagSet("authentication"))
	o.Recommended.Authorization.AddFlags(sets.FlagSet("authorization"))
	o.Recommended.Audit.AddFlags(sets.FlagSet("auditing"))
	o.Recommended.Features.AddFlags(sets.FlagSet("features"))
	o.Recommended.Admission.AddFlags(sets.FlagSet("admission"))
	egress := sets.FlagSet("egress selector")
	o.Recommended.EgressSelector.AddFlags(egress)
	egress.Lookup("egress-selector-config-file").Usage += " Connections to etcd are direct, whatever it says of them."
	o.Recommended.Traces.AddFlags(sets.FlagSet("traces"))
	logs := sets.FlagSet("logs")
	logsapi.AddFlags(o.Logs, logs)
	// See Validate.
	logs.Lookup("vmodule").Hidden = true
	return sets
}

// addAllBut adds the flags that the library has, but for one that would do nothing here.
func addAllBut(set *pflag.FlagSet, add func(*pflag.FlagSet), name string) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	add(all)
	all.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != name {
			set.AddFlag(flag)
		}
	})
}

// Complete fills in what follows from the flags that were given.
func (o *Options) Complete() error {
	if err := o.ServerRun.Complete(); err != nil {
		return err
	}
	kubeconfig := o.Recommended.CoreAPI.CoreAPIKubeconfigPath
	if o.Recommended.Authentication.RemoteKubeConfigFile == "" {
		o.Recommended.Authentication.RemoteKubeConfigFile = kubeconfig
	}
	if o.Recommended.Authorization.RemoteKubeConfigFile == "" {
		o.Recommended.Authorization.RemoteKubeConfigFile = kubeconfig
	}
	if o.Snapshots.Dir == "" {
		o.Snapshots.Dir = filepath.Join(o.DataDir, "snapshots")
	}
	o.embeds = len(o.Etcd.StorageConfig.Transport.ServerList) == 0
	return nil
}

// Validate returns every fault of the flags at once.
func (o *Options) Validate() error {
	var errs []error
	if o.MaxReplicas < 1 {
		errs = append(errs, fmt.Errorf("--max-replicas-per-elasticweb is %d: it must be 1 or more", o.MaxReplicas))
	}
	if o.ConcurrentSyncs < 1 {
		errs = append(errs, fmt.Errorf("--concurrent-elasticweb-syncs is %d: it must be 1 or more", o.ConcurrentSyncs))
	}
	if o.ProgressDeadline < time.Second || o.ProgressDeadline%time.Second != 0 || o.ProgressDeadline/time.Second > math.MaxInt32 {
		errs = append(errs, fmt.Errorf("--rollout-progress-deadline is %v: it must be whole seconds, 1s or more, and at most %d", o.ProgressDeadline, math.MaxInt32))
	}
	if err := o.LeaderElection.Validate(); err != nil {
		errs = append(errs, err)
	}
	if o.HostQPS == 0 || o.HostBurst < 1 {
		errs = append(errs, fmt.Errorf("--kube-api-qps is %v and --kube-api-burst %d: the first must be above 0, or below 0 for no limit, the second 1 or more", o.HostQPS, o.HostBurst))
	}
	if o.NodePorts.Size == 0 {
		errs = append(errs, errors.New("--service-node-port-range is empty: give first-last, for example 30000-32767"))
	}
	if o.ServiceName == "" || o.ServiceNamespace == "" {
		errs = append(errs, errors.New("--service-name and --service-namespace must not be empty"))
	}
	errs = append(errs, o.validateStorage()...)
	errs = append(errs, o.validateCertificate()...)
	if len(o.Logs.VModule) > 0 {
		errs = append(errs, errors.New("--vmodule is not known here: it would not reach the loggers that come with a context, which are most. Give -v"))
	}
	if o.Recommended.Authentication.TolerateInClusterLookupFailure {
		errs = append(errs, errors.New("--authentication-tolerate-lookup-failure is true: it must be false, or everybody would be anonymous while the host cluster is away. The server waits for it"))
	}
	errs = append(errs, o.ServerRun.Validate()...)
	errs = append(errs, o.Recommended.Validate()...)
	return utilerrors.NewAggregate(errs)
}

func (o *Options) validateStorage() (errs []error) {
	if !o.embeds {
		for _, server := range o.Etcd.StorageConfig.Transport.ServerList {
			if strings.HasPrefix(server, "unix") {
				// The library does not tell whoever dials which socket to dial, and an unwatched connection is not an option.
				errs = append(errs, fmt.Errorf("--etcd-servers has %s: it must be an http or https address", server))
			}
		}
		return append(errs, o.Etcd.Validate()...)
	}
	if o.DataDir == "" {
		errs = append(errs, errors.New("--data-dir must not be empty when --etcd-servers is not given"))
	}
	if o.EtcdQuota < 16<<20 {
		errs = append(errs, fmt.Errorf("--embedded-etcd-quota-backend-bytes is %d: it must be 16777216 or more", o.EtcdQuota))
	}
	if interval := o.Snapshots.Interval; interval != 0 && interval < time.Minute {
		errs = append(errs, fmt.Errorf("--embedded-etcd-snapshot-interval is %v: it must be 0, or 1m or more", interval))
	}
	if o.Snapshots.Keep < 1 {
		errs = append(errs, fmt.Errorf("--embedded-etcd-snapshot-retention is %d: it must be 1 or more", o.Snapshots.Keep))
	}
	return errs
}

func (o *Options) validateCertificate() (errs []error) {
	if o.ServingCertSecret == "" {
		errs = append(errs, errors.New("--serving-cert-secret must not be empty"))
	}
	if o.ServingCertLifetime < 10*time.Second {
		errs = append(errs, fmt.Errorf("--serving-cert-lifetime is %v: it must be 10s or more", o.ServingCertLifetime))
	}
	if o.ServingCertCALifetime < 4*o.ServingCertLifetime {
		errs = append(errs, fmt.Errorf("--serving-cert-ca-lifetime is %v: it must be at least four times --serving-cert-lifetime, %v", o.ServingCertCALifetime, 4*o.ServingCertLifetime))
	}
	return errs
}

// address is where the server listens, for messages.
func (o *Options) address() string {
	serving := o.Recommended.SecureServing
	return net.JoinHostPort(serving.BindAddress.String(), fmt.Sprint(serving.BindPort))
}
