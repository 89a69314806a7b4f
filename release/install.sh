#!/bin/sh
# SPDX-License-Identifier: MIT
#
# install.sh - install heapctl, its manual pages and its shell completion.
#
# usage: release/install.sh HEAPCTL [PREFIX]    (DESTDIR is put before all paths)
#
# HEAPCTL is the program to install. It may be one for another machine: the
# completion comes from the sources.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
share=${DESTDIR:-}${2:-/usr/local}/share
install -D -m 0755 "$1" "${DESTDIR:-}${2:-/usr/local}/bin/heapctl"
for page in "$top"/docs/man/*; do
	install -D -m 0644 "$page" "$share/man/man${page##*.}/${page##*/}"
done

here=$(mktemp)
trap 'rm -f "$here"' EXIT
(cd "$top" && GOOS='' GOARCH='' go build -o "$here" ./cmd/heapctl)
install -d -m 0755 "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
"$here" completion bash >"$share/bash-completion/completions/heapctl"
"$here" completion zsh >"$share/zsh/site-functions/_heapctl"
"$here" completion fish >"$share/fish/vendor_completions.d/heapctl.fish"
