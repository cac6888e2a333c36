# Every target is explained by the ## comment on its line; `make help` prints them.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Prints the path of a Go that can build the module; fetches one into the cache if the system has none.
GO      ?= $(shell scripts/ensure-go.sh)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
BIN      := bin/zonekeeper
OPERATOR := bin/zonekeeper-operator

# Arguments for the programs: make bench ARGS="--clients 64 --rounds 5"
ARGS     ?=
FUZZTIME ?= 30s

.PHONY: help run build operator plugin test vet lint fmt fuzz chaos mutants bench scale failover front propagation clients kube e2e e2e-short openstack docs generate deps clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  \033[1m%-11s\033[0m %s\n", $$1, $$2}'

run: build ## install BIND if missing, start a local cluster, write to it with nsupdate, show that all servers agree
	@scripts/install-deps.sh run
	@scripts/run-demo.sh $(BIN) $(ARGS)

build: ## build bin/zonekeeper
	@$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/zonekeeper

operator: ## build bin/zonekeeper-operator, static, for Kubernetes
	@CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o $(OPERATOR) ./cmd/zonekeeper-operator

plugin: ## build bin/kubectl-zonekeeper; in $PATH it is "kubectl zonekeeper"
	@CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o bin/kubectl-zonekeeper ./cmd/kubectl-zonekeeper

test: ## install what tests need, then run all of them, with the race detector where it applies
	@scripts/install-deps.sh test
	@GO=$(GO) scripts/test.sh $(ARGS)

vet: ## go vet
	@$(GO) vet ./...

lint: ## golangci-lint with .golangci.yml (built once, into the download cache); part of make test
	@GO=$(GO) scripts/lint.sh run ./...

fmt: ## gofmt and order the imports
	@GO=$(GO) scripts/lint.sh fmt ./...

fuzz: ## every fuzz target for FUZZTIME (30s), then a million differential messages to named and to a cluster
	@scripts/install-deps.sh test
	@GO=$(GO) FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

chaos: ## campaigns of random faults for DURATION (30m), a seed each; ends at the first that finds something; as root
	@scripts/install-deps.sh test
	@GO=$(GO) scripts/chaos.sh

mutants: ## break the program on purpose, a rule at a time: the campaigns have to notice; ten minutes, as root
	@scripts/install-deps.sh test
	@$(GO) test -tags mutants ./test/mutants -run TestCaught -count=1 -timeout 2h -v

bench: build ## three replicas against plain named and Knot: updates/s, latency, CPU per update (ARGS="--quick")
	@scripts/install-deps.sh test
	@$(BIN) bench $(ARGS)

scale: build ## one zone of 1,000,000 records and 10,000 zones: rate, memory, restart
	@scripts/install-deps.sh test
	@GO=$(GO) scripts/measure.sh Scale $(ARGS)

failover: build ## the gap in writes that a client sees when a primary dies, hangs or is cut off
	@scripts/install-deps.sh test
	@GO=$(GO) scripts/measure.sh Failover $(ARGS)

front: build ## the gap when a front node, its programs or its network fail, and what a front costs beside dnsdist; as root
	@scripts/install-deps.sh front
	@GO=$(GO) scripts/measure.sh Front $(ARGS)

propagation: build ## how soon secondaries show a change: beside plain BIND, with bad primaries, rolling restarts, 10,000 zones
	@scripts/install-deps.sh test
	@GO=$(GO) scripts/measure.sh Propagation $(ARGS)

clients: build ## real clients of dynamic updates while primaries are killed (ARGS=-rewrite writes docs/clients.md); as root
	@scripts/install-deps.sh clients
	@GO=$(GO) scripts/measure.sh Clients $(ARGS)

kube: ## run a three-node Kubernetes cluster on this machine until interrupted (test/kube/README.md); as root
	@GO=$(GO) scripts/kube.sh up $(ARGS)

e2e: ## everything on a real three-node Kubernetes cluster, with faults under load; as root
	@GO=$(GO) scripts/kube.sh test $(ARGS)

e2e-short: ## of e2e: the quick start, a primary deleted, a node drained, a rolling update: short enough for a build machine; as root
	@GO=$(GO) scripts/kube.sh short $(ARGS)

openstack: ## VIPs against a real Keystone and Neutron API, which it installs and starts itself; as root, on Debian 12
	@GO=$(GO) scripts/openstack.sh $(ARGS)

docs: ## rewrite the generated pages (docs/cli.md, docs/metrics.md)
	@$(GO) test ./test/repo -run TestGenerated -rewrite

generate: ## rewrite what is made of api/v1alpha1 and of the chart: deep copies, CustomResourceDefinitions, the chart's README, deploy/kustomize
	@GO=$(GO) scripts/generate.sh
	@$(GO) test ./test/chart -run 'TestGenerated|TestGolden' -rewrite

deps: ## install what tests need from the distribution
	@scripts/install-deps.sh test

clean: ## remove what was built here (not the download cache)
	@rm -rf bin
