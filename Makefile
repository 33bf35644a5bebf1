# Everything here is also plain Go; `make help` lists the targets.
.PHONY: build test race check soak lab fuzz conformance smuggling bench idle backlog proto help

build: ## the binary, in ./tarishi
	go build -o tarishi ./cmd/tarishi

test: ## all tests (under 4 minutes on 2 cores)
	go test ./...

race: ## all tests under the race detector
	go test -race ./...

check: ## what CI runs
	bash .ci/run

soak: ## the long ones: thousands of seeds and mutants, kills and power cuts under load, a cluster under a nemesis
	go test -p 1 -tags soak -timeout 180m -v ./smtp ./scheduler ./cluster ./queue ./deliverer ./crashtest/... ./command

lab: ## a cluster in network namespaces: what `make soak` does of it; RUN a test, STEPS and SEED of the nemesis (needs root, ip, iptables)
	go test -tags soak -timeout 12h -v -run '$(or $(RUN),.)' ./crashtest/netlab -netlab.steps $(or $(STEPS),40) $(if $(SEED),-netlab.seed $(SEED))

fuzz: ## each fuzz target for FUZZTIME (default 1m)
	@for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p 2>/dev/null | grep '^Fuzz'); do \
	    echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-1m} -fuzzminimizetime 5s -parallel 2 $$p || exit 1; \
	  done; done

conformance: ## runs what proves the rules of the wire, and writes docs/conformance.md
	go test -json -run '^Test[A-H][0-9]' ./... | go run ./internal/conformance/write

smuggling: ## every false end of a message, through Postfix and Exim before and behind us (needs root, Debian, three minutes)
	crashtest/mtas.sh $${EXIM:-/tmp/tarishi-exim}
	EXIM=$${EXIM:-/tmp/tarishi-exim} go test -tags soak -timeout 20m -v -run '^TestB1_' ./crashtest

bench: ## end to end beside Postfix and Haraka; prints a table of medians
	bash bench/compare.sh

proto: ## proto/tarishi.pb.go from proto/tarishi.proto
	proto/gen.sh

idle: ## 20,000 connections that say nothing beside 500 that send, on this machine (2 minutes)
	bash bench/idle.sh

backlog: ## a million waiting, on this machine: prints each figure (half an hour, 10 GB)
	bash bench/backlog.sh

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /	/'
