package plane

import (
	"crypto"
	"crypto/x509"
	"net"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/kubeconfig"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pkiutil"
)

// ServerUser is the user that elasticweb-apiserver is when deployed. A local one is the same, so that it lives with the same
// rights.
const ServerUser = "system:serviceaccount:elasticweb-system:elasticweb-apiserver"

// kubernetesService is the address of the Service "kubernetes": the first of --service-cluster-ip-range.
var kubernetesService = net.IPv4(10, 96, 0, 1)

// authority is a certificate authority whose files are in a folder.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(dir, name string) (*authority, error) {
	cert, key, err := pkiutil.NewCertificateAuthority(certConfig(certutil.Config{CommonName: name}))
	if err != nil {
		return nil, err
	}
	return &authority{dir: dir, cert: cert, key: key}, pkiutil.WriteCertAndKey(dir, name, cert, key)
}

func (a *authority) issue(name string, config certutil.Config) (*x509.Certificate, crypto.Signer, error) {
	cert, key, err := pkiutil.NewCertAndKey(a.cert, a.key, certConfig(config))
	if err != nil {
		return nil, nil, err
	}
	return cert, key, pkiutil.WriteCertAndKey(a.dir, name, cert, key)
}

// client writes the kubeconfig of a user to file.
func (a *authority) client(file, url, user string, groups ...string) error {
	cert, key, err := pkiutil.NewCertAndKey(a.cert, a.key, certConfig(certutil.Config{
		CommonName: user, Organization: groups, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}))
	if err != nil {
		return err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	config := kubeconfig.CreateWithCerts(url, "localcluster", user, pkiutil.EncodeCertPEM(a.cert), keyPEM, pkiutil.EncodeCertPEM(cert))
	return clientcmd.WriteToFile(*config, file)
}

func certConfig(config certutil.Config) *pkiutil.CertConfig {
	return &pkiutil.CertConfig{Config: config, EncryptionAlgorithm: kubeadm.EncryptionAlgorithmECDSAP256}
}

// writePKI makes every certificate and kubeconfig of a control plane that serves at url.
func (p *Plane) writePKI(url string) error {
	ca, err := newAuthority(p.pki, "ca")
	if err != nil {
		return err
	}
	frontProxy, err := newAuthority(p.pki, "front-proxy-ca")
	if err != nil {
		return err
	}
	if _, _, err := frontProxy.issue("front-proxy-client", certutil.Config{
		CommonName: "front-proxy-client", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return err
	}
	if _, _, err := ca.issue("apiserver", certutil.Config{
		CommonName: "kube-apiserver",
		Usages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		AltNames: certutil.AltNames{
			DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
			IPs:      []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(p.address()), kubernetesService},
		},
	}); err != nil {
		return err
	}
	if _, _, err := ca.issue("kubelet-client", certutil.Config{
		CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return err
	}
	tokens, err := pkiutil.NewPrivateKey(kubeadm.EncryptionAlgorithmECDSAP256)
	if err != nil {
		return err
	}
	if err := pkiutil.WriteKey(p.pki, "service-accounts", tokens); err != nil {
		return err
	}
	if err := pkiutil.WritePublicKey(p.pki, "service-accounts", tokens.Public()); err != nil {
		return err
	}
	type client struct {
		file, user string
		groups     []string
	}
	clients := []client{
		{p.Kubeconfig, "admin", []string{"system:masters"}},
		{p.kubeconfig("kube-controller-manager"), "system:kube-controller-manager", nil},
		{p.kubeconfig("kube-scheduler"), "system:kube-scheduler", nil},
		{p.kubeconfig("kwok"), "kwok", []string{"system:masters"}},
		{p.ServerKubeconfig, ServerUser, []string{"system:serviceaccounts", "system:serviceaccounts:elasticweb-system"}},
	}
	if node := p.config.Node; node != nil {
		clients = append(clients,
			client{p.kubeconfig("kubelet"), "system:node:" + node.Name, []string{"system:nodes"}},
			client{p.kubeconfig("kube-proxy"), "system:kube-proxy", nil})
	}
	for _, client := range clients {
		if err := ca.client(client.file, url, client.user, client.groups...); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plane) cert(name string) string { return filepath.Join(p.pki, name+".crt") }
func (p *Plane) key(name string) string  { return filepath.Join(p.pki, name+".key") }

// kubeconfig is that of a component.
func (p *Plane) kubeconfig(component string) string {
	return filepath.Join(p.config.State, "kubeconfigs", component)
}
