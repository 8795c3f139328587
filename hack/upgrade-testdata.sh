#!/usr/bin/env bash
# upgrade-testdata.sh COMMIT NAME [MANIFEST] keeps what the release at COMMIT leaves behind, for those that come after it, in
# test/upgrade/testdata/NAME: a snapshot of its etcd, its objects as it served them, and its manifests; the sample, and what
# is in MANIFEST. Run once when an issue is closed; what is there is never changed. It ends and begins no cluster but one of that release, in a folder of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

commit=$1
target=$PWD/test/upgrade/testdata/$2
server=$PWD/bin/elasticweb-apiserver
[[ ! -e $target ]] || { echo "error: $target is there already" >&2; exit 1; }
tree=$(mktemp -d)
trap 'make -C "$tree" down || true; git worktree remove --force "$tree"' EXIT
git worktree add --detach "$tree" "$commit"
make -C "$tree" up
export KUBECONFIG=$tree/.local/kubeconfig
kubectl() { "$tree/bin/kubectl" "$@"; }
kubectl create namespace dev --dry-run=client -o yaml | kubectl apply -f -
kubectl apply -f "$tree/artifacts/example/elasticweb-sample.yaml"
# With as much in it as the release knew.
[[ -z ${3:-} ]] || kubectl apply -f "$3"
kubectl wait elasticwebs --all -n dev --for=condition=Ready --timeout=60s
kubectl patch ew elasticweb-sample -n dev --type=merge -p '{"spec":{"totalQPS":4000}}'
kubectl wait elasticwebs --all -n dev --for=condition=Ready --timeout=60s
sleep 15
mkdir -p "$target"
kubectl get elasticwebs -A -o yaml --show-managed-fields >"$target/objects.yaml"
for overlay in registration base ha; do
  [[ ! -d $tree/artifacts/deploy/$overlay ]] || kubectl kustomize "$tree/artifacts/deploy/$overlay" >"$target/$overlay.yaml"
done
data=$(dirname "$(find "$tree/.local" -name member -path '*elasticweb-apiserver*' | head -1)")
"$server" snapshot save "$target/snapshot.db" --data-dir="${data%/etcd}"
