#!/usr/bin/env bash
# Makes what the members of this etcd and the API server know each other by, in the cluster of KUBECONFIG:
#   elasticweb-etcd/elasticweb-etcd-ca             an authority, for ten years
#   elasticweb-etcd/elasticweb-etcd                the members' certificate, for a year
#   elasticweb-system/elasticweb-etcd-client       the server's, for a year
# Run again, it keeps the authority and renews the certificates; they are read anew from then on, without a restart.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
kubectl=${KUBECTL:-kubectl}
command -v openssl >/dev/null || { echo 'error: openssl is missing' >&2; exit 1; }
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

k() { "$kubectl" "$@"; }
# secret NAMESPACE NAME FILE=… writes it, without a copy of it in an annotation.
secret() {
  local namespace=$1 name=$2
  shift 2
  k create secret generic -n "$namespace" "$name" "${@/#/--from-file=}" --dry-run=client -o yaml |
    k apply --server-side --force-conflicts --field-manager=certificates.sh -f -
}
new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
# certificate FILE SUBJECT EXTENSIONS
certificate() {
  new_key "$dir/$1.key"
  openssl req -new -key "$dir/$1.key" -subj "/CN=$2" |
    openssl x509 -req -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -set_serial "0x$(openssl rand -hex 16)" -days 365 -sha256 \
      -extfile <(printf '%s\n' 'basicConstraints=CA:FALSE' 'keyUsage=digitalSignature' "$3") -out "$dir/$1.crt" 2>"$dir/said" || { cat "$dir/said" >&2; return 1; }
}

k apply -f "$here/namespace.yaml" -f "$here/../registration/namespace.yaml"
# Whoever cannot read it must not replace it.
found=$(k get secret -n elasticweb-etcd elasticweb-etcd-ca --ignore-not-found -o 'go-template={{index .data "tls.crt"}} {{index .data "tls.key"}}')
if [[ -n $found ]]; then
  base64 -d <<<"${found% *}" >"$dir/ca.crt"
  base64 -d <<<"${found#* }" >"$dir/ca.key"
else
  new_key "$dir/ca.key"
  # Not what a machine's own configuration says of authorities.
  printf '%s\n' '[req]' 'distinguished_name=name' 'x509_extensions=authority' '[name]' '[authority]' \
    'basicConstraints=critical,CA:TRUE' 'keyUsage=critical,keyCertSign' 'subjectKeyIdentifier=hash' >"$dir/ca.cnf"
  openssl req -x509 -new -config "$dir/ca.cnf" -key "$dir/ca.key" -subj /CN=elasticweb-etcd-ca -days 3650 -sha256 -out "$dir/ca.crt"
  secret elasticweb-etcd elasticweb-etcd-ca tls.crt="$dir/ca.crt" tls.key="$dir/ca.key"
fi
members=elasticweb-etcd
# localhost: for etcdctl in the Pod of a member.
names=$(printf 'DNS:%s,' $members-{0,1,2}.$members.$members.svc localhost)IP:127.0.0.1
certificate member $members "subjectAltName=$names"$'\n''extendedKeyUsage=serverAuth,clientAuth'
secret elasticweb-etcd elasticweb-etcd ca.crt="$dir/ca.crt" tls.crt="$dir/member.crt" tls.key="$dir/member.key"
certificate client elasticweb-apiserver 'extendedKeyUsage=clientAuth'
secret elasticweb-system elasticweb-etcd-client ca.crt="$dir/ca.crt" tls.crt="$dir/client.crt" tls.key="$dir/client.key"
echo "The certificates are good until $(openssl x509 -in "$dir/client.crt" -noout -enddate | cut -d= -f2): run this again before."
