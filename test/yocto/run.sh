#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh - the tests of meta-dmaheap that need a Yocto tree.
#
# usage: POKY_DIR=/path/to/poky test/yocto/run.sh
#        OE_CORE_DIR=/path BITBAKE_DIR=/path test/yocto/run.sh
#
#   YOCTO_BUILD_DIR    build directory (~/.cache/dmaheap/yocto-RELEASE); it is kept
#   DL_DIR SSTATE_DIR  used as they are
#   YOCTO_LAYERS       further layers, such as those of a vendor
#   YOCTO_CONF         a file to append to local.conf
#   YOCTO_KERNELS      kernel recipes to patch and configure (linux-yocto)
#   YOCTO_STEPS        which steps; by default all but those after the bar:
#                      parse check-layer dry-run native board kernel |
#                      release sdk boot testimage fit
#   YOCTO_STANDIN      1: compilers, Go, the kernel's source and the system come
#                      from Debian packages and the Go module proxy (meta-standin);
#                      the step boot is run then, too
#   YOCTO_GO           the folder with the release's Go for it, as the go command
#                      keeps it (~/go/pkg/mod/cache/download/golang.org/toolchain/@v)
#   YOCTO_LINUX        the kernel source for it (/usr/src/linux-source-6.12.tar.xz)
#   YOCTO_UBOOT        a u-boot.bin of rpi_3_defconfig with CONFIG_FIT, which Debian's
#                      lacks, to boot what the step fit makes
#   YOCTO_DEBS         the folder with the system's packages for it; docs/yocto.md
#                      says which (~/.cache/dmaheap/debs)
#
# It fetches no release. Exit codes: 0 all ok or skipped, 1 a step failed, 2 usage.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
repo=$PWD

if [ -z "${POKY_DIR:-}" ] && [ -z "${OE_CORE_DIR:-}" ]; then
	echo "test-yocto: SKIP: no Yocto tree given; set POKY_DIR, or OE_CORE_DIR and BITBAKE_DIR"
	exit 0
fi
core=${POKY_DIR:-$OE_CORE_DIR}
if [ -z "${POKY_DIR:-}" ] && [ -z "${BITBAKE_DIR:-}" ] && [ ! -e "$core/bitbake" ]; then
	echo "test-yocto: OE_CORE_DIR needs BITBAKE_DIR beside it" >&2
	exit 2
fi
for file in "$core/oe-init-build-env" "$core/meta/conf/layer.conf"; do
	if [ ! -e "$file" ]; then
		echo "test-yocto: $core is no poky or openembedded-core: it has no ${file#"$core"/}" >&2
		exit 2
	fi
done
if [ "$(id -u)" -eq 0 ]; then
	echo "test-yocto: bitbake refuses to run as root. Run this as an ordinary user, for example:" >&2
	echo "  sudo -u \$SOMEBODY env ${POKY_DIR:+POKY_DIR=$POKY_DIR }${OE_CORE_DIR:+OE_CORE_DIR=$OE_CORE_DIR }${BITBAKE_DIR:+BITBAKE_DIR=$BITBAKE_DIR }$repo/test/yocto/run.sh" >&2
	exit 2
fi

release=$(sed -nE 's/^LAYERSERIES_CORENAMES = "([a-z]+).*/\1/p' "$core/meta/conf/layer.conf")
build=${YOCTO_BUILD_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/dmaheap/yocto-$release}
case $build/ in
"$repo"/*)
	echo "test-yocto: the build directory $build is inside the repository; bitbake would parse its own output" >&2
	exit 2
	;;
esac

echo "test-yocto: $release in $core, build directory $build"

# configure DIR KIND writes a build directory's configuration anew; what was
# built there stays. KIND: plain, without the layer; dmaheap; standin.
configure() {
	local dir=$1 kind=$2 layers="$core/meta ${YOCTO_LAYERS:-}"
	[ "$kind" = plain ] || layers="$layers $repo/meta-dmaheap"
	[ "$kind" != standin ] || layers="$layers $repo/test/yocto/meta-standin"
	mkdir -p "$dir/conf"
	{
		echo 'CONF_VERSION = "2"'
		if [ "$kind" = plain ]; then
			echo 'MACHINE = "qemuarm64"'
		else
			echo 'require conf/dmaheap/qemuarm64.inc'
		fi
		if [ "$kind" = standin ]; then
			echo 'require conf/standin.conf'
			echo "STANDIN_LINUX = \"$linux\""
			echo "STANDIN_LINUX_VERSION = \"$linux_version\""
			[ -z "${YOCTO_GO:-}" ] || echo "STANDIN_GO = \"$YOCTO_GO\""
			[ -z "${YOCTO_DEBS:-}" ] || echo "STANDIN_DEBS = \"$YOCTO_DEBS\""
		fi
		[ -z "${DL_DIR:-}" ] || echo "DL_DIR = \"$DL_DIR\""
		[ -z "${SSTATE_DIR:-}" ] || echo "SSTATE_DIR = \"$SSTATE_DIR\""
		[ -z "${YOCTO_CONF:-}" ] || cat "$YOCTO_CONF"
	} >"$dir/conf/local.conf"
	{
		# shellcheck disable=SC2016
		echo 'BBPATH = "${TOPDIR}"'
		echo 'BBFILES ?= ""'
		echo "BBLAYERS ?= \"$layers\""
	} >"$dir/conf/bblayers.conf"
}
configure "$build" dmaheap
configure "$build-check" plain

# Where things are built: with the real sources, or with what stands in for them.
work=$build
steps=${YOCTO_STEPS:-parse check-layer dry-run native board kernel}
if [ "${YOCTO_STANDIN:-0}" = 1 ]; then
	linux=${YOCTO_LINUX:-/usr/src/linux-source-6.12.tar.xz}
	# The Makefile is at the top of the tree, whatever the tree is called.
	linux_version=$(tar -xOf "$linux" --wildcards --no-wildcards-match-slash '*/Makefile' 2>/dev/null |
		awk -F ' = ' '/^VERSION/ {v = $2} /^PATCHLEVEL/ {p = $2} /^SUBLEVEL/ {print v "." p "." $2; exit}')
	if [ -z "$linux_version" ]; then
		echo "test-yocto: YOCTO_LINUX: $linux is no tarball of a kernel source (apt-get install linux-source-6.12 brings one)" >&2
		exit 2
	fi
	work=$build-standin
	configure "$work" standin
	steps=${YOCTO_STEPS:-$steps boot}
	echo "test-yocto: built with stand-ins: Debian's compilers, Linux $linux_version of $linux"
fi

# in_build DIR COMMAND... runs a command with the environment of a build
# directory. oe-init-build-env reads unset variables.
in_build() (
	dir=$1
	shift
	set +u
	[ -z "${BITBAKE_DIR:-}" ] || export BITBAKEDIR=$BITBAKE_DIR
	cd "$core" || exit 2
	# shellcheck disable=SC1091
	. ./oe-init-build-env "$dir" >/dev/null || exit 2
	"$@"
)

deploy_dir() { in_build "$work" bitbake -e | sed -n 's/^DEPLOY_DIR_IMAGE="\(.*\)"$/\1/p'; }

failed=()
skipped=()
logs=$build/test-yocto
mkdir -p "$logs"

# unreachable LOG tells whether all that went wrong is that a source could not be
# fetched. A step that ends so has tested nothing, which is not the same as having
# failed; what bitbake only warns of has not ended it.
unreachable() {
	local errors
	errors=$(grep '^ERROR: ' "$1")
	grep -qE 'Network access disabled|Unable to fetch URL|Fetcher failure|FetchError|Unable to find revision|NetworkAccess' <<<"$errors" &&
		! grep -oE '\bdo_[a-z_]+' <<<"$errors" | grep -qvx do_fetch
}

# step NAME COMMAND... runs one step and says how it ended.
step() {
	local name=$1 start log
	shift
	case " $steps " in *" ${name%% *} "*) ;; *) return ;; esac
	start=$(date +%s)
	log=$logs/${name// /-}.log
	printf '%-40s ' "$name"
	if "$@" >"$log" 2>&1; then
		printf 'ok      %5ds\n' $(($(date +%s) - start))
	elif unreachable "$log"; then
		printf 'SKIP    %5ds  a source cannot be had: %s\n' $(($(date +%s) - start)) "$(grep '^ERROR: ' "$log" | grep -m1 -oE '(https?|git)://[^ ;]*')"
		skipped+=("$name")
	else
		printf 'FAILED  %5ds\n' $(($(date +%s) - start))
		grep -E -A6 '^(ERROR|FAIL)' "$log" | head -n 40 | sed 's/^/    /'
		echo "    all of it: $log"
		failed+=("$name")
	fi
}

check_layer() {
	# It exits with 0 also when the layer was left out.
	in_build "$build-check" yocto-check-layer --machines qemuarm64 \
		${YOCTO_LAYERS:+--dependency $YOCTO_LAYERS} -o "$logs/check-layer-result.log" -- "$repo/meta-dmaheap" &&
		grep -q 'meta-dmaheap.*PASS' "$logs/check-layer-result.log"
}

# A warning of kernel_configcheck is a heap that is missing on the board.
kernel() {
	local out
	out=$(in_build "$work" bitbake -f -c kernel_configcheck "$1" 2>&1)
	local code=$?
	echo "$out"
	[ $code -eq 0 ] && ! grep -E 'WARNING.*CONFIG_(DMABUF|DMA_CMA|CMA|SYNC_FILE)' <<<"$out"
}

# What must stop the build, and say what to do: a fatal layout, with file, line
# and column, and a kernel that no series is for. 6.7 has none, and never will.
refusals() {
	local out
	cat >"$logs/refused.conf" <<-END
		DMAHEAP_CONFIG = "$repo/examples/broken/over-kernel.yaml"
		LINUX_VERSION:pn-linux-yocto:forcevariable = "6.7.1"
	END
	out=$(in_build "$work" bitbake -k -R "$logs/refused.conf" dmaheap-board:do_compile linux-yocto:do_fetch 2>&1)
	local code=$?
	echo "$out"
	[ $code -ne 0 ] && grep -qE 'over-kernel\.yaml:[0-9]+:[0-9]+' <<<"$out" &&
		grep -q 'linux-yocto is Linux 6.7, and kernel-patches/ has no series for it' <<<"$out"
}

# The same files in another place must give the same signatures, or what one has
# built is of no use to others.
signatures() {
	local at
	for at in here elsewhere; do
		mkdir -p "$logs/$at"
		cp examples/qemu-virt/heaps.yaml "$logs/$at/heaps.yaml"
		echo "no tree is read" >"$logs/$at/board.dtb"
		cat >"$logs/$at.conf" <<-END
			DMAHEAP_CONFIG = "$logs/$at/heaps.yaml"
			DMAHEAP_BASE_DTB = "$logs/$at/board.dtb"
			DMAHEAP_BASE_DTB_DEPENDS = ""
		END
		rm -f "$work/locked-sigs.inc"
		in_build "$work" bitbake -R "$logs/$at.conf" -S lockedsigs dmaheap-board linux-yocto || return
		mv "$work/locked-sigs.inc" "$logs/$at/" || return
	done
	grep -q 'dmaheap-board:do_compile:' "$logs/here/locked-sigs.inc" &&
		diff "$logs/here/locked-sigs.inc" "$logs/elsewhere/locked-sigs.inc"
}

# do_testimage takes an image that is there; it does not wait for one.
testimage() {
	in_build "$work" bitbake core-image-dmaheap && in_build "$work" bitbake -c testimage core-image-dmaheap
}

# heapctl from a release tarball, fetched as one is but for the server.
release() {
	local tarball
	tarball=$(ARCHS='' release/dist.sh "$logs/dist") || return
	cat >"$logs/release.conf" <<-END
		PREMIRRORS:prepend = "https://dmaheap.example/.* file://$logs/dist/ "
		DMAHEAP_RELEASE = "https://dmaheap.example/$(basename "$tarball");sha256sum=$(sha256sum "$tarball" | cut -d' ' -f1)"
	END
	in_build "$work" bitbake -R "$logs/release.conf" heapctl-native
}

# A FIT image with a board's tree and the overlay in it, under the names that bootm
# is to be given: that of a Raspberry Pi 3, which QEMU can be. Up to walnascar the
# kernel's recipe makes the image, so the tree has to be a file by then.
fit() {
	local target=virtual/kernel:do_deploy deploy listing dir=$logs/fit number
	mkdir -p "$dir"
	rm -f "$dir"/*
	cat >"$logs/fit.conf" <<-END
		KERNEL_DEVICETREE = "broadcom/bcm2837-rpi-3-b.dtb"
		KERNEL_DTC_FLAGS = "-@"
		DMAHEAP_CONFIG = "$repo/test/uboot/testdata/heaps.yaml"
		DMAHEAP_BASE_DTB = "\${DEPLOY_DIR_IMAGE}/bcm2837-rpi-3-b.dtb"
		DMAHEAP_BASE_DTB_DEPENDS = "virtual/kernel:do_deploy"
		UBOOT_ENTRYPOINT = "0x00200000"
		UBOOT_DTB_LOADADDRESS = "0x02400000"
	END
	if [ -e "$core/meta/recipes-kernel/linux/linux-yocto-fitimage.bb" ]; then
		target="linux-yocto-fitimage:do_deploy"
		echo 'KERNEL_CLASSES:append = " kernel-fit-extra-artifacts"' >>"$logs/fit.conf"
	else
		in_build "$work" bitbake -R "$logs/fit.conf" $target || return
		deploy=$(deploy_dir)
		cp "$deploy/bcm2837-rpi-3-b.dtb" "$logs/"
		cat >>"$logs/fit.conf" <<-END
			DMAHEAP_BASE_DTB = "$logs/bcm2837-rpi-3-b.dtb"
			DMAHEAP_BASE_DTB_DEPENDS = ""
			KERNEL_CLASSES:append = " kernel-fitimage"
			KERNEL_IMAGETYPES:append = " fitImage"
		END
	fi
	echo 'PREFERRED_PROVIDER_virtual/dtb = "dmaheap-board"' >>"$logs/fit.conf"
	in_build "$work" bitbake -R "$logs/fit.conf" $target dmaheap-board:do_deploy dmaheap-initramfs:do_deploy || return
	deploy=$(deploy_dir)
	listing=$(dumpimage -l "$deploy/fitImage") || return
	echo "$listing"
	number=$(sed -nE 's/^ Image ([0-9]+) \(fdt-heaps\.dtbo\)$/\1/p' <<<"$listing")
	grep -q '(conf-heaps\.dtbo)$' <<<"$listing" && [ -n "$number" ] &&
		dumpimage -T flat_dt -p "$number" -o "$logs/fit.dtbo" "$deploy/fitImage" &&
		cmp "$logs/fit.dtbo" "$deploy/devicetree/heaps.dtbo" || return
	[ -n "${YOCTO_UBOOT:-}" ] || return 0

	cp "$deploy/fitImage" "$dir/"
	cp "$deploy/dmaheap-initramfs-qemuarm64.cpio.gz" "$dir/initrd"
	cat >"$dir/boot.cmd" <<-'END'
		setenv bootargs console=ttyAMA0 earlycon=pl011,0x3f201000 panic=-1
		load mmc 0:1 ${ramdisk_addr_r} initrd
		setenv initrd ${ramdisk_addr_r}:${filesize}
		load mmc 0:1 0x05000000 fitImage
		bootm 0x05000000#conf-bcm2837-rpi-3-b.dtb#conf-heaps.dtbo ${initrd}
	END
	test/uboot/card.sh "$dir" "$logs/card.img" || return
	emulate -M raspi3b -kernel "$YOCTO_UBOOT" -dtb "$deploy/bcm2837-rpi-3-b.dtb" \
		-serial stdio -serial "file:$logs/uboot.log" -drive "if=sd,format=raw,file=$logs/card.img"
}

# emulate ARGUMENT... starts QEMU, where the initramfs must find the heaps of its
# lock file and say so.
emulate() {
	local out
	out=$(timeout 900 qemu-system-aarch64 -display none -nic none -no-reboot -monitor none "$@" </dev/null 2>&1)
	echo "$out"
	grep -q '^HEAPCTL-EXIT 0' <<<"$out"
}

# What was built must boot, and show the heaps that heaps.yaml asks for.
boot() {
	local deploy
	in_build "$work" bitbake -c deploy virtual/kernel dmaheap-board dmaheap-initramfs || return
	deploy=$(deploy_dir)
	emulate -M virt -cpu cortex-a57 -smp 4 -m 512 -serial stdio -kernel "$deploy/Image" \
		-dtb "$deploy/devicetree/heaps.dtb" -initrd "$deploy/dmaheap-initramfs-qemuarm64.cpio.gz" \
		-append 'console=ttyAMA0 panic=-1'
}

step "parse" in_build "$build" bitbake -p
step "check-layer" check_layer
step "dry-run" in_build "$build" bitbake -n core-image-dmaheap
step "native heapctl" in_build "$work" bitbake heapctl-native
step "board example" in_build "$work" bitbake -c deploy dmaheap-board
step "board refusals" refusals
step "board signatures" signatures
for recipe in ${YOCTO_KERNELS:-linux-yocto}; do
	step "kernel $recipe" kernel "$recipe"
done
step "release heapctl" release
step "sdk heapctl" in_build "$work" bitbake nativesdk-heapctl
step "boot initramfs" boot
step "testimage" testimage
# Last, since it is another kernel.
step "fit image" fit

echo
if [ ${#failed[@]} -gt 0 ]; then
	printf 'test-yocto: %d failed:' ${#failed[@]}
	printf ' [%s]' "${failed[@]}"
	echo
	exit 1
fi
if [ ${#skipped[@]} -gt 0 ]; then
	printf 'test-yocto: no failure, %d not tested:' ${#skipped[@]}
	printf ' [%s]' "${skipped[@]}"
	echo
else
	echo "test-yocto: all ok"
fi
