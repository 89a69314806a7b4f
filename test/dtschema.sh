#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# dtschema.sh - print the path of a schema for dt-validate that knows reserved
# memory and the heaps of this project
#
# usage: test/dtschema.sh
#
# It holds the core schemas of the dt-schema that is installed, the bindings of
# kernel-patches/, and what a dt-schema of before 2023 lacks: the schemas of
# /reserved-memory, which were part of the kernel then. Those come from the
# dt-schema of a newer release of Debian, whose program needs more of Python
# than an older release has; the schemas need nothing. The result is kept in
# ${XDG_CACHE_HOME:-~/.cache}/dmaheap/dtschema.
#
# exit: 0 printed, 3 it could not be made
set -euo pipefail
export LC_ALL=C

top=$(cd "$(dirname "$0")/.." && pwd)
say() { echo "dtschema: $*" >&2; }
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dmaheap/dtschema
suite=forky

command -v dt-mk-schema >/dev/null || {
	say "no dt-mk-schema: install dt-schema"
	exit 3
}

# The bindings are new files, so all of their lines are added ones.
bindings() {
	cat "$top/kernel-patches/$("$top/test/kernel.sh" line)"/*.patch |
		awk -v dir="$1" '
			/^diff --git/ { file = "" }
			/^\+\+\+ b\/Documentation\/devicetree\/bindings\/reserved-memory\/.*\.yaml$/ {
				n = split($2, part, "/"); file = dir "/" part[n]; next
			}
			file != "" && /^\+/ { print substr($0, 2) > file }'
}

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
work=$(mktemp -d "$cache/.work-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/schemas/reserved-memory"
bindings "$work/schemas/reserved-memory"
compgen -G "$work/schemas/reserved-memory/*.yaml" >/dev/null || {
	say "the patches have no binding"
	exit 3
}
id=$({ dt-mk-schema --version && cat "$work"/schemas/reserved-memory/*.yaml; } | sha256sum | cut -c1-16)
out=$cache/$id.json
if [ -s "$out" ]; then
	echo "$out"
	exit 0
fi

if ! ls "$(/usr/bin/python3 -c 'import dtschema, os; print(os.path.dirname(dtschema.__file__))')"/schemas/reserved-memory/*.yaml >/dev/null 2>&1; then
	core=$cache/$suite
	if ! compgen -G "$core/*.yaml" >/dev/null; then
		say "fetching the schemas of dt-schema from $suite"
		# shellcheck disable=SC2016 # it is apt that expands it
		uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sed 's|/*$||' | grep -m 1 '/debian$' || true)
		[ -n "$uri" ] || {
			say "apt knows no Debian archive"
			exit 3
		}
		mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial"
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$work/apt/sources.list"
		options=(
			-q -o "Dir::Etc::sourcelist=$work/apt/sources.list"
			-o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/apt/lists"
			-o "Dir::Cache=$work/apt" -o APT::Sandbox::User=root
		)
		if ! (cd "$work/apt" && apt-get "${options[@]}" update && apt-get "${options[@]}" download dt-schema) >&2 ||
			! dpkg-deb -x "$work"/apt/dt-schema_*.deb "$work/package"; then
			say "dt-schema of $suite could not be fetched"
			exit 3
		fi
		mkdir "$work/core"
		cp "$work"/package/usr/lib/python3/dist-packages/dtschema/schemas/reserved-memory/*.yaml "$work/core"
		rm -rf "$core"
		mv "$work/core" "$core"
	fi
	cp "$core"/*.yaml "$work/schemas/reserved-memory"
fi
dt-mk-schema -j "$work/schemas" >"$work/processed.json" || {
	say "dt-mk-schema does not take the schemas"
	exit 3
}
mv "$work/processed.json" "$out"
echo "$out"
