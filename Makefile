# Run `make` for what there is to run.

KUBERNETES_VERSION := v1.37.2
# Of the server.
VERSION ?= v0.5.0

# One set of flags for every build and test: what one has compiled, the next finds in the cache. (Race tests apart.)
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false
# No target may touch a cluster of the caller's, but for those that say so.
ifeq ($(filter current,$(CLUSTER))$(filter deploy undeploy,$(MAKECMDGOALS)),)
unexport KUBECONFIG
endif

sources = $(shell find $(1) -name '*.go') $(2)go.mod $(2)go.sum hack/build.sh Makefile
version := k8s.io/component-base/version
kubernetes_ldflags := -s -w -X $(version).gitVersion=$(KUBERNETES_VERSION) \
  -X $(version).gitMajor=$(word 1,$(subst ., ,$(KUBERNETES_VERSION:v%=%))) \
  -X $(version).gitMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION:v%=%))) -X $(version).gitTreeState=clean

server_ldflags := -s -w -X elasticweb.example.com/pkg/options.buildVersion=$(VERSION)

# Of this machine.
goarch = $(shell go env GOARCH)

.PHONY: help
help: ## say what there is to run
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## show the sample at work on a local Kubernetes, until Ctrl-C (ONCE=1: end after that; CLUSTER=current ADVERTISE_ADDRESS=…: use your own cluster)
	@bin/localcluster run $(if $(filter-out 0,$(ONCE)),--once) $(if $(CLUSTER),--cluster=$(CLUSTER)) $(if $(ADVERTISE_ADDRESS),--advertise-address=$(ADVERTISE_ADDRESS))

# What a real Node runs: bin/images has its images.
node_images := coredns etcd pause elasticweb-apiserver web-v1 web-v2
node_files := bin/localnode $(node_images:%=bin/images/%.tar)
node_flags := --node=real $(node_images:%=--image=bin/images/%.tar)

.PHONY: up
up: build $(if $(NODE),$(node_files)) ## start the local Kubernetes and the server in the background (NODE=real: with a real Node for Pods, where the server runs, too; needs root)
	@bin/localcluster up $(if $(NODE),$(subst --node=real,--node=$(NODE),$(node_flags)))

.PHONY: down
down: ## end them, and delete .local/ except its logs
	@if [ -x bin/localcluster ]; then bin/localcluster down; else echo "Nothing was running."; fi

.PHONY: build
build: bin/localcluster bin/kubectl bin/elasticweb-apiserver ## build the server and the local Kubernetes into bin/

# An interrupted build leaves the binaries that are there: `make down` needs one.
.PRECIOUS: bin/elasticweb-apiserver bin/localcluster

bin/elasticweb-apiserver: $(call sources,apis cmd pkg)
	@echo "==> bin/elasticweb-apiserver"
	@hack/build.sh cmd/elasticweb-apiserver $@ "$(server_ldflags)"

bin/localcluster: $(call sources,hack/localcluster,hack/localcluster/)
	@echo "==> bin/localcluster (etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok, kubectl)"
	@hack/build.sh hack/localcluster $@ "$(kubernetes_ldflags)"

bin/localnode: $(call sources,hack/localcluster,hack/localcluster/)
	@echo "==> bin/localnode (kubelet, kube-proxy)"
	@hack/build.sh hack/localcluster/localnode $@ "$(kubernetes_ldflags)"

# Images of programs that others publish, too.
programs := coredns etcd pause
$(programs:%=bin/images/%.tar): bin/images/%.tar: $(call sources,$(programs:%=hack/localcluster/%),hack/localcluster/) bin/image
	@mkdir -p bin/images
	@hack/build.sh hack/localcluster/$* bin/images/$* "-s -w"
	@bin/image --output=$@ $(image_flags) localhost/$*:local linux/$(goarch)=bin/images/$*
# As in etcd's own.
bin/images/etcd.tar: image_flags := --path=/usr/local/bin/etcd

bin/web: $(call sources,test/node/web,)
	@hack/build.sh test/node/web $@ "-s -w"

bin/images/web-%.tar: bin/web bin/image
	@mkdir -p bin/images && bin/image --output=$@ --env=VERSION=$* --user=0:0 localhost/web:$* linux/$(goarch)=bin/web

bin/images/elasticweb-apiserver.tar: bin/elasticweb-apiserver bin/image
	@mkdir -p bin/images && bin/image --output=$@ localhost/elasticweb-apiserver:local linux/$(goarch)=bin/elasticweb-apiserver

bin/kubectl: bin/localcluster
	@ln -sf localcluster $@

# Of the image, and what it is made of.
PLATFORMS ?= linux/amd64 linux/arm64

.PHONY: image
image: bin/image ## make the container image IMG=name:tag, bin/elasticweb-apiserver.tar (PLATFORMS="linux/amd64 linux/arm64"; PUSH=1: push it)
	@test -n "$(IMG)" || { echo "IMG is missing: make image IMG=registry.example.com/elasticweb-apiserver:$(VERSION)" >&2; exit 1; }
	@for platform in $(PLATFORMS); do \
	  echo "==> elasticweb-apiserver for $$platform"; \
	  GOOS=$${platform%/*} GOARCH=$${platform#*/} hack/build.sh cmd/elasticweb-apiserver bin/$$platform/elasticweb-apiserver "$(server_ldflags)" || exit; \
	done
	@bin/image $(if $(filter-out 0,$(PUSH)),--push) --output=bin/elasticweb-apiserver.tar $(IMG) $(foreach platform,$(PLATFORMS),$(platform)=bin/$(platform)/elasticweb-apiserver)

bin/image: $(call sources,hack/localcluster/image hack/localcluster/ociimage,hack/localcluster/)
	@echo "==> bin/image"
	@hack/build.sh hack/localcluster/image $@ "-s -w"

.PHONY: deploy
deploy: ## put the server IMG=name:tag into the cluster of KUBECONFIG (OVERLAY=base)
	@hack/deploy.sh up "$(IMG)" $(OVERLAY)

.PHONY: undeploy
undeploy: ## take it out again, after asking (CONFIRM=yes: without; KEEP_WORKLOADS=1: the Deployments and Services stay)
	@CONFIRM="$(CONFIRM)" KEEP_WORKLOADS="$(KEEP_WORKLOADS)" hack/deploy.sh down $(OVERLAY)

.PHONY: test
test: test-unit test-integration test-e2e ## run the unit, integration and end-to-end tests

.PHONY: test-unit
test-unit: ## run the unit tests
	go test ./apis/... ./cmd/... ./hack/... ./pkg/...
	cd hack/localcluster && go test ./...

.PHONY: test-integration
test-integration: ## run the tests of the server in process, on its embedded etcd
	go test ./test/integration/...

.PHONY: test-e2e
test-e2e: build ## run the end-to-end tests, each package on a local Kubernetes of its own
	go test -count=1 -p 1 -timeout 20m -v ./test/e2e/... ./test/upgrade/... ./test/fault/...

.PHONY: test-node
test-node: build $(node_files) ## run the tests on a real Node, with real containers (needs root; installs packages on Debian)
	@hack/node-packages.sh
	go test -count=1 -p 1 -timeout 20m -v ./test/node/...

# Three releases back: the oldest that is supported beside this one.
OLDER_KUBECTL := v0.34.11
# What was submitted last before this release was begun.
OLDER_SERVER := 77d1b75
FUZZ_TIME ?= 5m

.PHONY: test-long
test-long: build $(node_files) ## run the long forms: faults, two replicas on a real Node (root), fuzzing (FUZZ_TIME=5m each), the image made twice, kubectl and server of older releases
	hack/older-server.sh $(OLDER_SERVER) bin/elasticweb-apiserver-older
	LONG=1 OLDER_SERVER=$(CURDIR)/bin/elasticweb-apiserver-older go test -count=1 -timeout 45m -v ./test/fault/...
	@hack/node-packages.sh
	LONG=1 go test -count=1 -timeout 15m -v ./test/node/... -run 'Replicas|Backup'
	go test ./pkg/capacity -run '^$$' -fuzz FuzzScaleReadsBack -fuzztime $(FUZZ_TIME)
	go test ./pkg/workload -run '^$$' -fuzz FuzzOverlay -fuzztime $(FUZZ_TIME)
	go test ./apis/elasticweb/install -run '^$$' -fuzz FuzzDecode -fuzztime $(FUZZ_TIME)
	hack/reproducible.sh
	hack/older-kubectl.sh $(OLDER_KUBECTL) bin/kubectl-older
	KUBECTL=$(CURDIR)/bin/kubectl-older go test -count=1 -timeout 12m -v ./test/e2e/... -run 'Kubectl|Sample|BadInput'

.PHONY: test-race
test-race: ## run the tests of what runs concurrently under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./pkg/controller/... ./pkg/leader/... ./pkg/servingcert/... ./pkg/storage/... ./pkg/access/... ./pkg/apiserver/...

.PHONY: test-rules
test-rules: ## test the alerting rules in artifacts/grafana (needs promtool, of Debian's package prometheus)
	@command -v promtool >/dev/null || { echo "promtool is missing: install it, on Debian with the package prometheus" >&2; exit 1; }
	cd artifacts/grafana && promtool check rules elasticweb-rules.yaml && promtool test rules elasticweb-rules-test.yaml

.PHONY: generate
generate: ## regenerate everything that is derived from apis/ (needs protoc)
	@hack/generate.sh

.PHONY: verify
verify: ## fail if generated files, formatting, vet, staticcheck, go.mod or the versions are stale
	@hack/verify.sh
