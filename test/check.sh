#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check.sh - the fast checks: format, vet for every word size, staticcheck, unit
# tests, shell scripts, kernel series, and the oldest Go the module supports.
#
# usage: test/check.sh
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

# The oldest toolchain users build with: that of Yocto scarthgap.
oldest=go1.22.12

# The newest staticcheck that the Go at hand can build, and that understands it.
staticcheck_version() {
	local minor
	minor=$(go env GOVERSION | sed -nE 's/^go1\.([0-9]+).*/\1/p')
	if [ "${minor:-0}" -ge 25 ]; then
		echo v0.7.0
	elif [ "${minor:-0}" -ge 23 ]; then
		echo v0.6.1
	else
		echo v0.5.1
	fi
}

failed=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# step NAME COMMAND... runs one check, shows what it said only when it fails,
# and goes on: all that is wrong in one run.
step() {
	local name=$1 start
	shift
	start=$(date +%s)
	printf '%-32s ' "$name"
	if "$@" >"$log" 2>&1; then
		printf 'ok      %3ds\n' $(($(date +%s) - start))
	else
		printf 'FAILED  %3ds\n' $(($(date +%s) - start))
		sed 's/^/    /' "$log"
		failed+=("$name")
	fi
}

go_files() { git ls-files -co --exclude-standard '*.go'; }
shell_files() { git ls-files -co --exclude-standard '*.sh' .ci/run; }

formatted() {
	local bad
	bad=$(go_files | xargs -r gofmt -l) || return 1
	[ -z "$bad" ] || { echo "run gofmt -w on:" && echo "$bad" && return 1; }
}
vet_for() { GOOS=linux GOARCH=$1 go vet ./...; }
static_check() { go run "honnef.co/go/tools/cmd/staticcheck@$(staticcheck_version)" ./...; }
shell_check() { shell_files | xargs -r shellcheck; }

step "gofmt" formatted
step "go vet" go vet ./...
for arch in arm arm64 386; do
	step "go vet, $arch" vet_for $arch
done
step "staticcheck $(staticcheck_version)" static_check
step "shellcheck" shell_check
step "one driver text" kernel-patches/check.sh same
if GOTOOLCHAIN=$oldest go version >/dev/null 2>&1; then
	step "build with $oldest" env GOTOOLCHAIN=$oldest go build ./...
else
	printf '%-32s %s\n' "build with $oldest" "not run: that toolchain cannot be had here"
fi

# Known vulnerabilities in what the module uses. The list of them is a service on
# the net; GOVULNDB=file:///path names a copy of it.
vulnerabilities() {
	go run "golang.org/x/vuln/cmd/govulncheck@v1.1.4" ${GOVULNDB:+-db "$GOVULNDB"} ./...
}
printf '%-32s ' govulncheck
start=$(date +%s)
if vulnerabilities >"$log" 2>&1; then
	printf 'ok      %3ds\n' $(($(date +%s) - start))
elif grep -q 'fetching vulnerabilities' "$log"; then
	echo "not run: the database of vulnerabilities cannot be reached"
else
	printf 'FAILED  %3ds\n' $(($(date +%s) - start))
	sed 's/^/    /' "$log"
	failed+=(govulncheck)
fi

# The tests report in their own lines. Those that boot machines are for
# `make test`.
echo
DMAHEAP_VM=skip go test ./... || failed+=("unit tests")
if [ "$(go env GOHOSTOS)/$(go env GOHOSTARCH)" = linux/amd64 ]; then
	echo
	echo "32-bit, where an int holds no physical address:"
	DMAHEAP_VM=skip GOARCH=386 CGO_ENABLED=0 go test ./heapcfg/... ./dmaheap ./internal/... || failed+=("32-bit unit tests")
fi

# Only what runs more than one goroutine. The detector needs a C compiler.
echo
if command -v "$(go env CC)" >/dev/null; then
	echo "under the race detector:"
	DMAHEAP_VM=skip CGO_ENABLED=1 go test -race ./dmaheap ./internal/check || failed+=("race detector")
else
	echo "under the race detector: not run, there is no C compiler"
fi

echo
if [ ${#failed[@]} -gt 0 ]; then
	printf 'check: %d failed:' ${#failed[@]}
	printf ' [%s]' "${failed[@]}"
	echo
	exit 1
fi
echo "check: all ok"
