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
manifests() (
  [[ -d artifacts/deploy/$2 ]] || fail "OVERLAY=$2: there is no artifacts/deploy/$2"
  # kustomize takes bases by relative path only.
  mkdir -p bin
  dir=$(mktemp -d bin/deploy.XXXXXX)
  trap 'rm -rf "$dir"' EXIT
  cat >"$dir/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../artifacts/deploy/$2]
images: [$(image "$1")]
YAML
  k kustomize "$dir"
)

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
  local rendered runs
  [[ -n $1 ]] || fail 'IMG is missing: make deploy IMG=registry.example.com/elasticweb-apiserver:v1'
  rendered=$(manifests "$1" "$2")
  # Both would serve the same API from two storages.
  runs=$(workload)
  [[ $runs != *$'\n'* ]] || fail "the cluster runs both $(tr '\n' ' ' <<<"$runs")- delete the one whose data is not to be served, then do this again"
  [[ -z $runs ]] || grep -qix "kind: ${runs%%.*}" <<<"$rendered" ||
    fail "the cluster runs $runs, which OVERLAY=$2 has not: see docs/operating.md for how its data gets from one to the other"
  k apply -f - <<<"$rendered"
  k rollout status -n elasticweb-system "$(workload)" --timeout=$limit || {
    k get -n elasticweb-system pods,persistentvolumeclaims,events >&2
    fail 'the server does not become ready: see above, and kubectl logs -n elasticweb-system -l app.kubernetes.io/name=elasticweb-apiserver'
  }
  k wait apiservice/$api --for=condition=Available --timeout=$limit
}

workload() { k get statefulset,deployment -n elasticweb-system -l app.kubernetes.io/name=elasticweb-apiserver -o name; }

# objects prints the ElasticWebs. A server that is being replaced is back soon.
objects() {
  for _ in {1..12}; do
    k get elasticwebs -A --no-headers -o custom-columns=N:.metadata.namespace,O:.metadata.name --request-timeout=10s && return
    sleep 5
  done
  return 1
}

down() {
  local rendered registered found='' cascade=foreground
  [[ -z ${KEEP_WORKLOADS:-} || ${KEEP_WORKLOADS} == 0 ]] || cascade=orphan
  # Whatever is wrong with them is to be known before anything is deleted.
  rendered=$(manifests elasticweb-apiserver "$1")
  registered=$(k get apiservice $api --ignore-not-found -o name)
  if [[ -n $registered ]] && ! found=$(objects); then
    [[ ${SERVER_GONE:-} == yes ]] || fail 'the server does not answer, so its ElasticWebs cannot be deleted first, and nothing was deleted. Mend it; or say SERVER_GONE=yes: the cluster may then delete their Deployments and Services'
    [[ $cascade != orphan ]] || fail 'KEEP_WORKLOADS=1 needs a server that answers. Nothing was deleted'
    registered=''
  fi
  echo "From $(k config current-context) will go:"
  if [[ -n $found ]]; then
    sed 's/^/  ElasticWeb /' <<<"$found"
    if [[ $cascade == orphan ]]; then
      echo '  (their Deployments and Services stay, and go on serving)'
    else
      echo '  (with their Deployments and Services: KEEP_WORKLOADS=1 keeps those)'
    fi
  fi
  k get --ignore-not-found --no-headers -o custom-columns=K:.kind,N:.metadata.namespace,O:.metadata.name -f - <<<"$rendered" |
    awk '{ print "  " $1, ($2 == "<none>" ? "" : $2 "/") $3 ($1 == "Namespace" ? ", with all that is in it: volumes, too" : "") }' ||
    echo '  and what could not be listed: see above'
  if [[ ${CONFIRM:-} != yes ]]; then
    [[ -t 0 ]] || fail 'nothing was deleted: CONFIRM=yes says that it may be'
    read -r -p 'Delete this? Only "yes" deletes. ' answer
    [[ $answer == yes ]] || fail 'nothing was deleted'
  fi
  if [[ -n $registered ]]; then
    k delete elasticwebs --all -A --cascade=$cascade --timeout=$limit
  fi
  k delete apiservice $api --ignore-not-found
  # Before its rights: it gives its Lease away.
  k delete statefulset,deployment -n elasticweb-system -l app.kubernetes.io/name=elasticweb-apiserver --cascade=foreground --timeout=$limit
  k delete --ignore-not-found --timeout=$limit -f - <<<"$rendered"
}

case ${1:-} in
up) up "${2:-}" "${3:-base}" ;;
down) down "${2:-base}" ;;
*) fail 'usage: deploy.sh up IMAGE OVERLAY | down OVERLAY' ;;
esac
