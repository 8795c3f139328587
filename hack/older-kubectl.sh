#!/usr/bin/env bash
# Builds the kubectl of an older release: hack/older-kubectl.sh VERSION OUTPUT, for example v0.35.9 bin/kubectl-older.
set -euo pipefail
version=$1
output=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >main.go <<'GO'
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
GO
go mod init older-kubectl
go get "k8s.io/kubectl@$version"
go mod tidy
go build -o "$output" .
