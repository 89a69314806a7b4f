#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# boot.sh - boot the image of dmaheap_qemu_aarch64_virt_defconfig by the line in
# its readme.txt, log in, and run heapctl check.
#
# usage: test/buildroot/boot.sh /path/to/output/images [CONSOLE-LOG]
#
# exit: 0 the check at boot and the one by hand found nothing wrong, and the
#       device nodes have the modes, groups and short names of heaps.yaml
#       1 something is wrong, 2 usage, 3 there is no QEMU
set -euo pipefail

if [ $# -lt 1 ] || [ ! -e "$1/virt-heaps.dtb" ]; then
	echo "usage: ${0##*/} IMAGES [CONSOLE-LOG]; IMAGES has no virt-heaps.dtb" >&2
	exit 2
fi
images=$(cd "$1" && pwd)
top=$(cd "$(dirname "$0")/../.." && pwd)
readme=$top/buildroot-ext/board/qemu/aarch64-virt/readme.txt
line=$(sed -n 's/^  \(qemu-system-aarch64 .*\) # dmaheap_qemu_aarch64_virt_defconfig$/\1/p' "$readme")
command -v qemu-system-aarch64 >/dev/null || { echo "boot: no qemu-system-aarch64" >&2 && exit 3; }

work=$(mktemp -d)
console=$(realpath "${2:-$work/console}")
: >"$console"
mkfifo "$work/keys"
qemu=
trap '[ -z "$qemu" ] || kill $qemu 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
mkdir output
ln -s "$images" output/images
# The line is a person's: words, and quotes around the kernel's command line.
eval "timeout 600 $line" <"$work/keys" >"$console" 2>&1 &
qemu=$!
exec 3>"$work/keys"

# wait_for PATTERN: until the console shows it. A panic, or an end, ends it.
wait_for() {
	local i
	for ((i = 0; i < 600; i++)); do
		if grep -qE "$1" "$console"; then
			return 0
		fi
		if grep -q 'Kernel panic' "$console" || ! kill -0 $qemu 2>/dev/null; then
			break
		fi
		sleep 1
	done
	echo "boot: '$1' never came; the end of the console:" >&2
	tail -n 25 "$console" >&2
	exit 1
}

wait_for 'login: *$'
printf 'root\n' >&3
wait_for '# *$'
# What the marks are made of is not what they look like when typed.
printf 'heapctl check; echo CHECK""-EXIT $?\n' >&3
wait_for '^CHECK-EXIT [0-9]+'
# shellcheck disable=SC2016 # it is the guest that expands it
printf 'r=/run/dmaheap/check.json; echo KEPT""-PASS $(grep -c status.*PASS $r) FAIL $(grep -c status.*FAIL $r)\n' >&3
wait_for '^KEPT-PASS'
printf 'ls -l /dev/dma_heap | cat; heapctl --version; cat /proc/version; echo LIST""-EXIT $?\n' >&3
wait_for '^LIST-EXIT 0'
printf 'poweroff\n' >&3
wait $qemu || true
qemu=

failed=0
want() {
	if grep -qE "$2" "$console"; then
		echo "ok    $1"
	else
		echo "FAIL  $1: no '$2' on the console"
		failed=1
	fi
}
# A message of the kernel may have come between the words.
if tr -d '\r' <"$console" | grep -A 1 '^Running dmaheap-check: ' | grep -qE 'OK$' ||
	grep -q 'Finished .*Check of the DMA heaps' "$console"; then
	echo "ok    check at boot"
else
	echo "FAIL  check at boot: neither an OK of the init script nor of the unit on the console"
	failed=1
fi
want "its result, kept" '^KEPT-PASS [1-9][0-9]* FAIL 0'
want "check by hand" '^CHECK-EXIT 0'
version=$("$top/release/version.sh" --commit)
want "heapctl of this tree" "^heapctl version $version(-dirty)?[[:space:]]*\$"
want "CMA heap for video" '^crw-rw---- +1 root +video .* video@[0-9a-f]+'
want "carveout heap for render" '^crw-rw---- +1 root +render .* npu@[0-9a-f]+'
for short in linux,cma video npu; do
	want "short name $short" "^l.* $short -> $short@[0-9a-f]+"
done
exit $failed
