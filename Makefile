# The tools run by exact version and stay out of go.mod.
STATICCHECK   = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI_LINT = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# Packages whose statements must be covered, and by how many per cent.
COVERED   = es examples/org examples/otp
COVER_MIN = 90

# How long make fuzz runs each target.
FUZZTIME ?= 10s

# Flags of bench-peers and performance, as in PEERS='-bench=Replay -rounds=3'. With -cpu they count the
# processor's time, for a machine that others use too.
PEERS ?=

# How long make soak runs.
SOAK ?= 1m

.PHONY: help test explore prove fuzz soak engines lint template cover bench jsonv2 otel peers bench-peers performance bench-coldstart package ci

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

test: ## run every test, with the race detector and in random order, on real engines too
	internal/engines/run go test -race -shuffle=on ./...

# Without the race detector: one goroutine runs at a time, and millions of schedules take their time.
explore: ## run the protocol through every interleaving, as far as CI goes
	EXPLORE=ci go test -run '^TestExplore(Cache|Creators)?$$' -count=1 -v ./es

prove: ## the same as far as docs/protocol.md says: a quarter of an hour
	EXPLORE=all go test -run '^TestExplore(Cache|Creators)?$$' -count=1 -timeout=0 -v ./es

# What it finds is kept below the testdata of its package, and is a test from then on; so is what is there already, of inputs that
# reach far.
fuzz: ## run each fuzz target for FUZZTIME, 10s by default
	@set -eu; for file in $$(grep -rlE --include='*_test.go' '^func Fuzz' .); do \
		for target in $$(sed -nE 's/^func (Fuzz\w+)\(.*/\1/p' "$$file"); do \
			echo "$$target in $$(dirname "$$file")"; \
			go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) "$$(dirname "$$file")"; \
		done; \
	done

# Without a package, so that go test shows what is printed as it comes.
soak: ## run the whole system on the engines, with faults at random, for SOAK, 1m by default; SOAK_SEED repeats a run
	SOAK=$(SOAK) internal/engines/run go -C examples/lambda test -run='^TestSoak$$' -count=1 -timeout=0

engines: ## start the engines, print what to export, and wait for Ctrl-C
	@internal/engines/run

lint: ## check format, go.mod and code
	@files=$$(gofmt -l .) && if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	go mod tidy -diff
	go mod verify
	go vet ./...
	$(STATICCHECK) ./...
	$(GOLANGCI_LINT) run ./...

template: ## check the CloudFormation template; a warning is a failure
	@command -v cfn-lint >/dev/null || { echo "cfn-lint is missing; get it with: pipx install cfn-lint==1.51.0"; exit 1; }
	cfn-lint examples/deploy/template.yaml

# es is covered by the tests of memory and estest as well: they run its contracts.
cover: ## fail where too few statements of a package are tested
	@set -eu; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; failed=0; \
	printf '%-14s %10s %10s %8s\n' package statements covered percent; \
	for pkg in $(COVERED); do \
		go test -coverpkg="./$$pkg" -coverprofile="$$tmp/profile" "./$$pkg/..." >"$$tmp/log" 2>&1 || { cat "$$tmp/log"; exit 1; }; \
		awk -v pkg="$$pkg" -v least=$(COVER_MIN) ' \
			$$1 != "mode:" { size[$$1] = $$2; if ($$3 > 0) hit[$$1] = 1 } \
			END { \
				for (block in size) { all += size[block]; if (block in hit) covered += size[block] } \
				percent = all ? 100 * covered / all : 0; low = percent < least; \
				printf "%-14s %10d %10d %7.1f%%%s\n", pkg, all, covered, percent, low ? "  below " least "%" : ""; \
				exit low \
			}' "$$tmp/profile" || { failed=1; go tool cover -func="$$tmp/profile" | grep -v '100.0%$$'; }; \
	done; exit $$failed

bench: ## run every benchmark once, so that none rots
	go test -run='^$$' -bench=. -benchtime=1x ./...

# Go's next encoding/json: es chooses otherwise with it (es/codec_v2.go).
jsonv2: ## test es with GOEXPERIMENT=jsonv2
	GOEXPERIMENT=jsonv2 go vet ./es/...
	GOEXPERIMENT=jsonv2 go test ./es/...

# A module of its own, so that nobody who imports the library gets OpenTelemetry.
otel: ## check, vet and test the example with OpenTelemetry
	cd examples/otel && go mod tidy -diff && go vet ./... && $(STATICCHECK) ./... && $(GOLANGCI_LINT) run ./...
	cd examples/otel && go test -race ./...

# Without go mod tidy, which would download what all the tests of all the libraries need.
peers: ## vet and test the module that compares with other libraries, and run each of its benchmarks once
	cd internal/peers && go vet ./... && $(STATICCHECK) ./... && $(GOLANGCI_LINT) run ./...
	cd internal/peers && go test -short -bench=. -benchtime=1x ./...

bench-peers: ## compare with other libraries, and with a loop written by hand: some minutes
	cd internal/peers && go run ./report $(PEERS)

performance: ## the same, and put tables and plot into docs/performance.md
	cd internal/peers && go run ./report -write $(PEERS)

bench-coldstart: ## show how long the function takes to start, and how large it is
	go test -run='^$$' -bench=ColdStart -benchtime=30x ./examples/lambda

# Trimmed paths, no build ID and no version control: the same sources and Go version give the same bytes in any folder.
package: ## build dist/function.zip for Lambda on arm64
	@set -eu; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -buildvcs=false -tags lambda.norpc -ldflags='-s -w -buildid=' \
		-o "$$tmp/bootstrap" ./examples/lambda; \
	go run ./internal/zip dist/function.zip "$$tmp/bootstrap"

ci: test explore lint template cover bench jsonv2 otel peers ## all of it
