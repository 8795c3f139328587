#!/usr/bin/env bash
# build.sh DIR OUTPUT LDFLAGS builds the main package in DIR, and shows how far the compiler is.
set -euo pipefail
dir=$1 output=$PWD/$2 ldflags=$3

fail() { echo "error: $*" >&2; exit 1; }
interrupted() {
  printf '\nInterrupted. Run it again: it continues where it stopped.\n' >&2
  exit 130
}
trap interrupted INT TERM

command -v go >/dev/null || fail "Go is missing: install Go 1.26 or later (https://go.dev/dl), and put its bin folder on PATH"
[[ $(go env GOVERSION) =~ ^go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge 26 ]] ||
  fail "$(go env GOVERSION) is too old: Go 1.26 or later is needed"

# progress TEXT shows where we are: in place on a terminal, else a line now and then.
last=-15
progress() {
  if [[ -t 2 ]]; then
    printf '\r\033[K    %s, %d s' "$1" "$SECONDS" >&2
  elif ((SECONDS - last >= 15)); then
    last=$SECONDS
    printf '    %s, %d s\n' "$1" "$SECONDS" >&2
  fi
}

cd "$dir"
# Naming what must be compiled also fetches the modules that are missing.
modules=0
stale=$(mktemp)
# The go command leaves its work folder behind when it is interrupted.
GOTMPDIR=$(mktemp -d)
export GOTMPDIR
trap 'rm -rf "$stale" "$GOTMPDIR"' EXIT
while read -r line; do
  case $line in
  "go: downloading"*) progress "downloading modules: $((++modules))" ;;
  *) echo "$line" >&2 ;;
  esac
done < <(go list -deps -f '{{if .Stale}}{{.ImportPath}}{{end}}' . 2>&1 >"$stale" || echo "error: go list failed")
total=$(grep -c . "$stale" || true)

if ((total > 500)); then
  free=$(($(df -Pk "$(go env GOCACHE)" | awk 'NR == 2 {print $4}') / 1024 / 1024))
  ((free >= 4)) || fail "only $free GB are free on the disk of $(go env GOCACHE): the first build needs 4 GB"
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  cat >&2 <<'TEXT'
First run only: compiles a Kubernetes control plane, about 10 minutes on 2 cores, 4 GB of disk; afterwards under a minute.
Ctrl-C is safe: it continues where it stopped.
TEXT
fi

done=0
while read -r line; do
  if [[ $line =~ ^[A-Za-z0-9._~/-]+$ ]]; then
    progress "compiled $((++done)) of $total packages"
  else
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
    echo "$line" >&2
  fi
done < <(
  # The compiler's garbage collector runs less often for memory that is there: a third off the cold build.
  GOGC=400 go build -v -o "$output" -ldflags "$ldflags" . 2>&1 || echo "error: the build of $dir failed"
)
[[ ! -t 2 ]] || printf '\r\033[K' >&2
[[ -x $output && ! $output -ot "$stale" ]] || fail "no $output was built"
