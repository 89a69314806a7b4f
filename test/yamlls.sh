#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# yamlls.sh - print the path of yaml-language-server, with which most editors
# read the schema of heaps.yaml
#
# usage: test/yamlls.sh
#
# It comes from npm, once, and is kept in ${XDG_CACHE_HOME:-~/.cache}/dmaheap/yamlls.
#
# exit: 0 printed, 3 it could not be had
set -euo pipefail
export LC_ALL=C

version=1.25.0

say() { echo "yamlls: $*" >&2; }
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dmaheap/yamlls
dir=$cache/$version
program=$dir/node_modules/yaml-language-server/bin/yaml-language-server

for tool in node npm; do
	command -v $tool >/dev/null || {
		say "no $tool: install Debian's nodejs and npm"
		exit 3
	}
done
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ ! -e "$program" ]; then
	work=$(mktemp -d "$cache/.work-XXXXXX")
	trap 'rm -rf "$work"' EXIT
	echo '{"private": true}' >"$work/package.json"
	# Nothing of it is run at installation.
	npm install --prefix "$work" --ignore-scripts --no-audit --no-fund --no-package-lock \
		--loglevel=error "yaml-language-server@$version" >&2 || {
		say "npm does not give yaml-language-server $version"
		exit 3
	}
	rm -rf "$dir"
	mv "$work" "$dir"
	trap - EXIT
fi
echo "$program"
