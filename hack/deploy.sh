#!/usr/bin/env bash
# deploy.sh up IMAGE OVERLAY puts the server into the cluster of KUBECONFIG; deploy.sh down OVERLAY takes it out again, in the order in
# which nothing hangs: objects, APIService, server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kubectl=${KUBECTL:-kubectl}
api=v1.elasticweb.example.com
limit=5m

fail() { echo "error: $*" >&2; exit 1; }
k() { "$kubectl" "$@"; }

# manifests IMAGE OVERLAY prints what is to be in the cluster.
manifests() {
  local dir
  # kustomize takes bases by relative path only.
  mkdir -p .local
  dir=$(mktemp -d .local/deploy.XXXXXX)
  cat >"$dir/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../artifacts/deploy/$2]
images: [$(image "$1")]
YAML
  k kustomize "$dir"
  rm -r "$dir"
}

# image NAME[:TAG][@DIGEST] is it as kustomize wants it.
image() {
  local name=$1 rest=''
  if [[ $name == *@* ]]; then
    rest=", digest: \"${name#*@}\"" name=${name%@*}
  elif [[ ${name##*/} == *:* ]]; then
    rest=", newTag: \"${name##*:}\""
  fi
  [[ ${name##*/} != *:* ]] || name=${name%:*}
  echo "{name: elasticweb-apiserver, newName: \"$name\"$rest}"
}

up() {
  [[ -n $1 ]] || fail 'IMG is missing: make deploy IMG=registry.example.com/elasticweb-apiserver:v1'
  [[ -d artifacts/deploy/$2 ]] || fail "OVERLAY=$2: there is no artifacts/deploy/$2"
  manifests "$1" "$2" | k apply -f -
  k rollout status -n elasticweb-system "$(workload)" --timeout=$limit
  k wait apiservice/$api --for=condition=Available --timeout=$limit
}

workload() { k get statefulset,deployment -n elasticweb-system -l app.kubernetes.io/name=elasticweb-apiserver -o name; }

down() {
  local objects='' answers=yes cascade=foreground
  [[ -z ${KEEP_WORKLOADS:-} || ${KEEP_WORKLOADS} == 0 ]] || cascade=orphan
  k version >/dev/null || fail 'the cluster of KUBECONFIG does not answer'
  if [[ -z $(k get apiservice $api --ignore-not-found -o name) ]]; then
    answers=no
    echo "$api is not registered: no ElasticWeb can be deleted."
  elif ! objects=$(k get elasticwebs -A --no-headers -o custom-columns=N:.metadata.namespace,O:.metadata.name --request-timeout=10s); then
    answers=no
    echo 'The server does not answer: its ElasticWebs cannot be deleted first. Their Deployments and Services stay, and go on serving.'
  fi
  echo "From $(k config current-context) will go:"
  if [[ -n $objects ]]; then
    sed 's/^/  ElasticWeb /' <<<"$objects"
    [[ $cascade == orphan ]] && echo '  (their Deployments and Services stay, and go on serving)' || echo '  (with their Deployments and Services: KEEP_WORKLOADS=1 keeps those)'
  fi
  echo "  APIService $api"
  echo '  Namespace elasticweb-system, with the server and, if it is embedded, the data of its etcd'
  echo '  ClusterRoles and ClusterRoleBindings of elasticweb-apiserver'
  if [[ ${CONFIRM:-} != yes ]]; then
    [[ -t 0 ]] || fail 'nothing was deleted: CONFIRM=yes says that it may be'
    read -r -p 'Delete this? Only "yes" deletes. ' answer
    [[ $answer == yes ]] || fail 'nothing was deleted'
  fi
  if [[ $answers == yes && -n $objects ]]; then
    k delete elasticwebs --all -A --cascade=$cascade --timeout=$limit
  fi
  k delete apiservice $api --ignore-not-found
  # Before its rights: it gives its Lease away.
  k delete statefulset,deployment -n elasticweb-system -l app.kubernetes.io/name=elasticweb-apiserver --cascade=foreground --timeout=$limit
  manifests elasticweb-apiserver "$1" | k delete --ignore-not-found --timeout=$limit -f -
}

case ${1:-} in
up) up "${2:-}" "${3:-base}" ;;
down) down "${2:-base}" ;;
*) fail 'usage: deploy.sh up IMAGE OVERLAY | down OVERLAY' ;;
esac
