#!/usr/bin/env bash
# Builds the server of an earlier release: hack/older-server.sh COMMIT OUTPUT.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
commit=$1 output=$PWD/$2
git cat-file -e "$commit^{commit}" || { echo "error: $commit is not in this clone: git fetch --unshallow" >&2; exit 1; }
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git archive "$commit" | tar -x -C "$tree"
cd "$tree"
go build -o "$output" ./cmd/elasticweb-apiserver
