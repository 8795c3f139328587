#!/usr/bin/env bash
# Regenerates everything that is derived from apis/: deepcopy, defaults, conversion, protobuf, OpenAPI, clientset, listers,
# informers and apply configurations. The generators are the `tool` directives of go.mod; protoc is the distribution's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

module=elasticweb.example.com
hub=$module/apis/elasticweb
wire=$module/apis/elasticweb/v1
header=hack/boilerplate.go.txt
generated=pkg/generated

command -v protoc >/dev/null || {
  echo "make generate needs protoc: install your distribution's protobuf compiler (Debian: apt-get install protobuf-compiler)" >&2
  exit 1
}

export GOBIN=$PWD/bin/tools
go install tool
export PATH=$GOBIN:$PATH

# protoc knows folders, not modules: give it one tree in which import paths lead to the modules.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# On a new machine, a module that no generator is built of is not there yet.
moddir() { go mod download "$1" && go list -m -f '{{.Dir}}' "$1"; }
mkdir -p "$work/out" "$work/import/k8s.io" "$work/import/github.com/gogo"
ln -s "$PWD" "$work/out/$module"
ln -s "$(moddir k8s.io/apimachinery)" "$work/import/k8s.io/apimachinery"
ln -s "$(moddir k8s.io/api)" "$work/import/k8s.io/api"
ln -s "$(moddir github.com/gogo/protobuf)" "$work/import/github.com/gogo/protobuf"

echo "deepcopy, defaults, conversion, validation"
find apis -name 'zz_generated.*' -delete
deepcopy-gen --go-header-file $header --output-file zz_generated.deepcopy.go $hub $wire
defaulter-gen --go-header-file $header --output-file zz_generated.defaults.go $wire
conversion-gen --go-header-file $header --output-file zz_generated.conversion.go $wire
validation-gen --go-header-file $header --output-file zz_generated.validations.go $wire

echo "protobuf"
# A leading "-" imports a package instead of generating it.
go-to-protobuf --go-header-file $header --output-dir "$work/out" --packages $wire \
  --apimachinery-packages "$(printf -- '-k8s.io/%s,' apimachinery/pkg/util/intstr apimachinery/pkg/api/resource \
    apimachinery/pkg/runtime/schema apimachinery/pkg/runtime apimachinery/pkg/apis/meta/v1)-k8s.io/api/core/v1" \
  --proto-import "$work/import" --proto-import "$work/import/github.com/gogo/protobuf/protobuf"

echo "OpenAPI"
rm -rf $generated
readonly_packages=()
imported_packages=()
for p in api/autoscaling/v1 api/core/v1 apimachinery/pkg/api/resource apimachinery/pkg/apis/meta/v1 apimachinery/pkg/runtime \
  apimachinery/pkg/util/intstr apimachinery/pkg/version; do
  readonly_packages+=(--readonly-pkg "k8s.io/$p")
  imported_packages+=("k8s.io/$p")
done
openapi-gen --go-header-file $header --output-dir $generated/openapi --output-pkg $module/$generated/openapi \
  --output-file zz_generated.openapi.go --output-model-name-file zz_generated.model_name.go \
  --report-filename "$work/api-rule-violations" "${readonly_packages[@]}" "${imported_packages[@]}" $wire
if grep -F "$module" "$work/api-rule-violations"; then
  echo "the API breaks the API rules above" >&2
  exit 1
fi
cat >$generated/openapi/doc.go <<'DOC'
// Package openapi holds the generated OpenAPI definitions of every type that the API serves.
package openapi
DOC

echo "apply configurations, clientset, listers, informers"
go run ./hack/openapi-schema >"$work/schema.json"
# Those of other groups are client-go's: without them the types themselves would stand there, and send null for what is absent.
applyconfiguration-gen --go-header-file $header --openapi-schema "$work/schema.json" \
  --external-applyconfigurations k8s.io/api/core/v1.ResourceRequirements:k8s.io/client-go/applyconfigurations/core/v1 \
  --external-applyconfigurations k8s.io/api/core/v1.PodTemplateSpec:k8s.io/client-go/applyconfigurations/core/v1 \
  --output-dir $generated/applyconfiguration --output-pkg $module/$generated/applyconfiguration $wire
client-gen --go-header-file $header --clientset-name versioned --prefers-protobuf \
  --output-dir $generated/clientset --output-pkg $module/$generated/clientset \
  --apply-configuration-package $module/$generated/applyconfiguration --input-base $module/apis --input elasticweb/v1
lister-gen --go-header-file $header --output-dir $generated/listers --output-pkg $module/$generated/listers $wire
informer-gen --go-header-file $header --output-dir $generated/informers --output-pkg $module/$generated/informers \
  --versioned-clientset-package $module/$generated/clientset/versioned --listers-package $module/$generated/listers $wire

echo "the reference of the API"
go run ./hack/api-reference >docs/api.md
