#!/usr/bin/env bash
# Fails unless two clones at different paths make the same image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for clone in "$dir/one" "$dir/another/place"; do
  git clone --quiet . "$clone"
  make --no-print-directory -C "$clone" image IMG=example.com/elasticweb-apiserver:test PLATFORMS=linux/amd64 | sed -n 's/.*@//p' >>"$dir/digests"
done
[[ $(sort -u "$dir/digests" | wc -l) == 1 ]] || { echo "error: two clones make two images:" >&2; cat "$dir/digests" >&2; exit 1; }
echo "The same image: $(head -1 "$dir/digests")"
