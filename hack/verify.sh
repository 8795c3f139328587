#!/usr/bin/env bash
# Fails if anything in the tree is not as its tools would leave it. It changes nothing in the tree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export GOBIN=$PWD/bin/tools
export PATH=$GOBIN:$PATH
modules=(. hack/localcluster)
failed=0
check() { # NAME COMMAND... fails if the command does, or prints anything.
  local name=$1 output status=0
  shift
  printf '==> %s\n' "$name"
  # What the go command downloads on a new machine is no finding.
  output=$("$@" 2>&1) || status=$?
  output=$(grep -v '^go: downloading ' <<<"$output" || true)
  if ((status != 0)) || [[ -n $output ]]; then
    printf '%s\n' "$output"
    echo "FAILED: $name"
    failed=1
  fi
}
in_module() { (cd "$1" && shift && "$@"); }

# In a copy, so that the tree stays as it is whatever happens.
generated_files() {
  local copy
  copy=$(mktemp -d) || return
  git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create --ignore-failed-read 2>/dev/null | tar --extract --directory "$copy"
  (cd "$copy" && hack/generate.sh >/dev/null) || echo "hack/generate.sh failed"
  for generated in apis pkg/generated docs/api.md; do
    diff --recursive --brief "$generated" "$copy/$generated" || true
  done
  rm -rf "$copy"
}

# Common modules that differ in version compile twice.
common_versions() {
  join <(versions .) <(versions hack/localcluster) | awk '$2 != $3 {print $1 " is " $2 " in go.mod, and " $3 " in hack/localcluster/go.mod"}'
}
versions() {
  # Only modules that are compiled count.
  in_module "$1" go list -deps -f '{{with .Module}}{{.Path}} {{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}{{end}}' ./... | sort -u
}

check "generated files (make generate)" generated_files
check "formatting (gofmt)" gofmt -l -s apis cmd hack pkg test
for module in "${modules[@]}"; do
  check "go.mod of $module (go mod tidy)" in_module "$module" go mod tidy -diff
  check "vet of $module" in_module "$module" go vet ./...
done
check "versions that both go.mod share" common_versions
go install tool
# What is generated is not ours to mend.
hand_written() { in_module "$1" go list ./... | grep -v /pkg/generated/; }
for module in "${modules[@]}"; do
  mapfile -t packages < <(hand_written "$module")
  check "staticcheck of $module" in_module "$module" staticcheck "${packages[@]}"
done
exit $failed
