package plane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodeheartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
)

// kwokNodes is the label of the Nodes that kwok plays. It leaves others, and their Pods, alone.
const kwokNodes = "type=kwok"

// kwokNode is the name of the one that is played.
const kwokNode = "kwok"

// etcdSocket is relative to the state folder, the working directory of all components: an absolute path may be longer than
// a unix socket's name can be.
const etcdSocket = "unix://etcd.sock:0"

// auditPolicy notes, in logs/audit.log, every request that our server makes, and no other.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["` + ServerUser + `"]
`

func (p *Plane) startAPI(port int) error {
	etcdPort, err := p.ports.next()
	if err != nil {
		return err
	}
	// For whoever needs an etcd with an address.
	etcdAddress := fmt.Sprintf("http://127.0.0.1:%d", etcdPort)
	if err := os.WriteFile(filepath.Join(p.config.State, "etcd-address"), []byte(etcdAddress), 0o600); err != nil {
		return err
	}
	if err := p.component("etcd",
		"--name=local",
		"--data-dir="+filepath.Join(p.config.State, "etcd"),
		"--listen-client-urls="+etcdSocket+","+etcdAddress, "--advertise-client-urls="+etcdSocket,
		"--listen-peer-urls=unix://etcd-peer.sock:0", "--initial-advertise-peer-urls=unix://etcd-peer.sock:0",
		"--initial-cluster=local=unix://etcd-peer.sock:0",
		"--log-level=warn",
		// The data is thrown away with the plane; its users do not wait for the disk.
		"--unsafe-no-fsync",
	); err != nil {
		return err
	}
	policy := filepath.Join(p.config.State, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	return p.component("kube-apiserver", append(p.placeOfAPI(),
		"--audit-policy-file="+policy, "--audit-log-path="+filepath.Join(p.config.State, "logs", "audit.log"),
		"--etcd-servers="+etcdSocket,
		fmt.Sprintf("--secure-port=%d", port),
		"--client-ca-file="+p.cert("ca"),
		"--tls-cert-file="+p.cert("apiserver"), "--tls-private-key-file="+p.key("apiserver"),
		"--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+filepath.Join(p.pki, "service-accounts.pub"),
		"--service-account-signing-key-file="+p.key("service-accounts"),
		// The aggregation layer.
		"--requestheader-client-ca-file="+p.cert("front-proxy-ca"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+p.cert("front-proxy-client"), "--proxy-client-key-file="+p.key("front-proxy-client"),
	)...)
}

// placeOfAPI are kube-apiserver's flags that depend on who must reach it, and whom it must reach.
func (p *Plane) placeOfAPI() []string {
	if p.config.Node == nil {
		// There is one, on loopback; the endpoints of the Service "kubernetes" may not be loopback addresses.
		return []string{"--bind-address=" + p.address(), "--endpoint-reconciler-type=none"}
	}
	return []string{
		"--bind-address=" + p.address(), "--advertise-address=" + p.address(),
		"--kubelet-client-certificate=" + p.cert("kubelet-client"), "--kubelet-client-key=" + p.key("kubelet-client"),
		"--kubelet-preferred-address-types=InternalIP",
	}
}

func (p *Plane) startControllers() error {
	err := errors.Join(
		p.component("kube-controller-manager",
			"--kubeconfig="+p.kubeconfig("kube-controller-manager"),
			"--leader-elect=false", "--secure-port=0", "--use-service-account-credentials",
			"--root-ca-file="+p.cert("ca"),
			"--service-account-private-key-file="+p.key("service-accounts"),
			// The defaults (20, 30) carry four or five Deployments a second.
			"--kube-api-qps=500", "--kube-api-burst=500",
			"--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20",
			// The default, 15 s, is long to look at.
			"--horizontal-pod-autoscaler-sync-period=2s",
		),
		p.component("kube-scheduler",
			"--kubeconfig="+p.kubeconfig("kube-scheduler"),
			"--leader-elect=false", "--secure-port=0",
			"--kube-api-qps=500", "--kube-api-burst=500",
		),
	)
	if err != nil || p.config.Node != nil {
		return err
	}
	stages := filepath.Join(p.config.State, "kwok.yaml")
	if err := os.WriteFile(stages, []byte(strings.Join([]string{
		nodefast.DefaultNodeInit, nodeheartbeat.DefaultNodeHeartbeat,
		podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete,
	}, "\n---\n")), 0o600); err != nil {
		return err
	}
	return p.component("kwok",
		"--kubeconfig="+p.kubeconfig("kwok"),
		"--config="+stages,
		"--manage-nodes-with-label-selector="+kwokNodes,
		// How long one waits that takes the place of another, as after a restart.
		"--node-lease-duration-seconds=4",
	)
}

func (p *Plane) client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func (p *Plane) apiReady(ctx context.Context) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (p *Plane) createNode(ctx context.Context) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	label, value, _ := strings.Cut(kwokNodes, "=")
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("10000"),
		corev1.ResourceMemory: resource.MustParse("100Ti"),
		corev1.ResourcePods:   resource.MustParse("100000"),
	}
	_, err = client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: kwokNode, Labels: map[string]string{label: value, corev1.LabelHostname: kwokNode}},
		Status:     corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// canRunPods: the Node is ready (so kwok works), and namespaces have their service account (so the controller manager does).
func (p *Plane) canRunPods(ctx context.Context) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{}); err != nil {
		return err
	}
	name := kwokNode
	if p.config.Node != nil {
		name = p.config.Node.Name
	}
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return errors.New("the Node is not ready")
}
