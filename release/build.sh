#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build.sh - build heapctl as releases have it: static, stripped, with its
# version, and the same bytes wherever the tree lies.
#
# usage: release/build.sh OUTPUT    (GOOS and GOARCH as for go build)
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
case $1 in
/*) output=$1 ;;
*) output=$PWD/$1 ;;
esac
cd "$top"
CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	-ldflags "-s -w -X github.com/dmaheap/dmaheap/internal/cli.linkedVersion=$(release/version.sh)" \
	-o "$output" ./cmd/heapctl
