package options

import (
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"time"

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

	// DataDir is the folder of the embedded etcd and of the certificate authority.
	DataDir string
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
}

// New returns the defaults.
func New() *Options {
	o := &Options{
		ServerRun:        genericoptions.NewServerRunOptions(),
		Recommended:      genericoptions.NewRecommendedOptions(etcdPrefix, apiserver.Codecs.LegacyCodec(v1.SchemeGroupVersion)),
		Logs:             logs.NewOptions(),
		DataDir:          "/var/lib/" + apiserver.Name,
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
	// Restarting us does not heal etcd, so it is no part of /livez; /readyz gets its check by hand.
	o.Etcd.SkipHealthEndpoints = true
	o.Etcd.StorageConfig.Type = storagebackend.StorageTypeETCD3
	// Without it, whoever watches holds up the stop for a minute.
	o.ServerRun.ShutdownWatchTerminationGracePeriod = 10 * time.Second
	addPlugins(o.Recommended.Admission)
	o.Recommended.SecureServing.BindPort = 8443
	o.Recommended.SecureServing.ServerCert.CertDirectory = ""
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

	etcd := sets.FlagSet("etcd")
	etcd.StringVar(&o.DataDir, "data-dir", o.DataDir,
		"The folder of the embedded etcd, which runs when --etcd-servers is not given, and of the certificate authority.")
	o.Etcd.AddFlags(etcd)

	o.ServerRun.AddUniversalFlags(sets.FlagSet("generic"))
	host := sets.FlagSet("host cluster")
	o.Recommended.CoreAPI.AddFlags(host)
	host.Float32Var(&o.HostQPS, "kube-api-qps", o.HostQPS,
		"The requests per second that the controller may send to the host cluster. Below 0: no limit; the host's priority and fairness protects it better.")
	host.IntVar(&o.HostBurst, "kube-api-burst", o.HostBurst,
		"The requests that the controller may send at once above --kube-api-qps. 1 or more.")
	host.Lookup("kubeconfig").Usage = "The kubeconfig of the host cluster. It serves delegated authentication and authorization, too, unless they have their own. In a Pod it is not needed."
	o.Recommended.SecureServing.AddFlags(sets.FlagSet("secure serving"))
	o.Recommended.Authentication.AddFlags(sets.FlagSet("authentication"))
	o.Recommended.Authorization.AddFlags(sets.FlagSet("authorization"))
	o.Recommended.Audit.AddFlags(sets.FlagSet("auditing"))
	o.Recommended.Features.AddFlags(sets.FlagSet("features"))
	o.Recommended.Admission.AddFlags(sets.FlagSet("admission"))
	o.Recommended.EgressSelector.AddFlags(sets.FlagSet("egress selector"))
	o.Recommended.Traces.AddFlags(sets.FlagSet("traces"))
	logsapi.AddFlags(o.Logs, sets.FlagSet("logs"))
	return sets
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
	if o.Recommended.SecureServing.ServerCert.CertDirectory == "" {
		o.Recommended.SecureServing.ServerCert.CertDirectory = filepath.Join(o.DataDir, "pki")
	}
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
	if !o.embedsEtcd() {
		errs = append(errs, o.Etcd.Validate()...)
	} else if o.DataDir == "" {
		errs = append(errs, errors.New("--data-dir must not be empty when --etcd-servers is not given"))
	}
	errs = append(errs, o.ServerRun.Validate()...)
	errs = append(errs, o.Recommended.Validate()...)
	return utilerrors.NewAggregate(errs)
}

func (o *Options) embedsEtcd() bool {
	return len(o.Etcd.StorageConfig.Transport.ServerList) == 0
}

// address is where the server listens, for messages.
func (o *Options) address() string {
	serving := o.Recommended.SecureServing
	return net.JoinHostPort(serving.BindAddress.String(), fmt.Sprint(serving.BindPort))
}
