#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# fuzz.sh - run every fuzz target of the module for a fixed time, one after the
# other, from its committed corpus on.
#
# usage: test/fuzz.sh [TIME]    10s each by default
#
# A crash ends with 1; Go has then written the input below the testdata of its
# package, where it belongs once the fault is mended.
set -euo pipefail
cd "$(dirname "$0")/.."

each=${1:-10s}
failed=()
count=0
while IFS=: read -r file _ line; do
	target=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/' <<<"$line")
	pkg=./$(dirname "$file")
	printf '%-40s ' "${pkg#./} $target"
	count=$((count + 1))
	start=$(date +%s)
	# To make an input shorter that is only interesting is not worth a minute, which
	# is what Go takes for it.
	if out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$each" -fuzzminimizetime 20x -parallel 2 "$pkg" 2>&1); then
		execs=$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1 || true)
		new=$(grep -oE 'total: [0-9]+' <<<"$out" | tail -n 1 || true)
		printf 'ok  %3ds  %s, corpus %s\n' $(($(date +%s) - start)) "${execs:-no execs}" "${new#total: }"
	else
		printf 'FAILED\n'
		tail -n 30 <<<"$out"
		failed+=("$pkg $target")
	fi
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -nE '^func Fuzz[A-Z]')

echo
if [ ${#failed[@]} -gt 0 ]; then
	echo "fuzz: failed: ${failed[*]}"
	exit 1
fi
echo "fuzz: $count targets, $each each, all ok"
