# make help lists what there is.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 30s
BENCHTIME ?= 1s
ROWS ?= 1000000

.PHONY: help build generate test test-long race bench bench-json bench-long bench-rotation chaos fuzz lint ci demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the programs into bin/
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./cmd/ingest ./cmd/keys ./cmd/recover
	$(GO) build -trimpath -o bin/demo ./cmd/demo/walkthrough

generate: ## write again what is made from the code: docs/reference.md, docs/dataset.schema.json
	$(GO) generate ./...

test: ## run the tests: within five minutes on two cores; says what it leaves to test-long
	$(GO) test ./...
	@echo; echo "left to make test-long:"
	@grep -rhoE 'long\.Only\(t, "[^"]+"' --include=*_test.go . | sed -E 's/^.*t, "(.*)"$$/  \1/'
	@echo '  more kills, rounds and rows in the fault tests (test/chaos, test/blackbox, keys/rotation)'

test-long: ## all tests in their long forms (an hour); CLOAKROOM_CHAOS_SEED repeats one of the fault tests
	CLOAKROOM_TEST=long $(GO) test -count=1 -timeout 60m $$($(GO) list ./... | grep -v /keys/rotation)
	CLOAKROOM_TEST=long $(GO) test -count=1 -timeout 60m ./keys/rotation -chaos.kills=0

race: ## run the tests under the race detector
	$(GO) test -race -timeout 20m ./...

bench: ## measure, and write the tables into docs/performance.md
	$(GO) test -run XXX -bench . -benchmem -benchtime $(BENCHTIME) ./etl ./crypto/...
	$(GO) test -run XXX -bench Open -benchtime 11x ./cmd/recover/recovercmd
	$(GO) run ./test/bench -write docs/performance.md

bench-json: ## the promised figures within a minute; one JSON object on standard output (make -s)
	@$(GO) run ./test/bench -json

bench-long: ## measure with up to 10 million rows (a quarter of an hour)
	$(GO) run ./test/bench -long -v -write docs/performance.md

bench-rotation: ## measure the rotation job with ROWS rows
	$(GO) run ./test/bench -rotation -rows $(ROWS) -v -write docs/performance.md

chaos: ## only the fault tests, in their long forms
	CLOAKROOM_TEST=long $(GO) test -run TestChaos -count=1 -timeout 60m -v ./test/chaos ./test/blackbox
	CLOAKROOM_SQS_CLIENT=sdk $(GO) test -count=1 -timeout 60m ./test/chaos
	$(GO) test ./keys/rotation -run 'TestChaos$$|TestEveryState' -count=1 -timeout 60m -v -chaos.kills=0

fuzz: ## fuzz each target for FUZZTIME
	@set -e; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; \
	    $(GO) test -run XXX -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l cmd crypto dataset etl internal keys recover test)" || { gofmt -l cmd crypto dataset etl internal keys recover test; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

ci: ## all that continuous integration checks
	.ci/run

demo: ## the whole product on this machine, nothing to install but Postgres
	$(GO) run ./cmd/demo

clean: ## remove what was built
	rm -rf bin dist
