#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# kernel.sh - build the kernel the virtual machines boot, once, and print
# the path of the result.
#
# usage: test/kernel.sh [--arch ARCH] [--config FILE]... [--debug]
#                       [--with NAME]... [--keep-going] [--cached]
#                       [image|selftest|line]
#
#   image         what QEMU boots, with kernel-patches/ (default); modules, where
#                 the configuration has any, are in lib/modules beside it
#   selftest      the kernel's own tools/testing/selftests/dmabuf-heaps, static
#   line          nothing: print which line of kernels it is, such as 6.12
#   --arch A      architecture, as Go calls it: arm64 (default), arm, riscv64, amd64
#   --config F    merge fragment F as well, and fail unless the kernel obeys it
#   --keep-going  only warn when it does not, or when the series names a patch
#                 that is not there
#   --with NAME   kernel-patches/configs/NAME.config as well; in an object
#                 directory of its own, so for options that rebuild everything
#   --debug       --with debug: KASAN, lockdep and friends
#   --cached      build nothing: fail unless the result is there already
#
# environment:
#   V                     kernel line, 6.12 unless KERNEL_SRC says otherwise; the
#                         source of others comes from kernel-patches/source.sh
#   KERNEL_SRC            a kernel tree to use instead of Debian's linux-source-$V;
#                         it is only read
#   DMAHEAP_PATCHES       directory of patches instead of kernel-patches/$V, or "none"
#   DMAHEAP_BASE_CONFIG   fragment instead of kernel-patches/configs/ARCH-virt.config
#   XDG_CACHE_HOME        results live in dmaheap/ below it (default ~/.cache)
#   JOBS                  parallel compilers (default: one per processor)
#
# exit: 0 built or cached, 1 the kernel cannot have a requested option or a patch
#       does not apply, 2 usage or unreadable input, 3 it could not be built
set -euo pipefail
export LC_ALL=C

# Part of every cache key: raise it when this script makes something else of the
# same inputs.
recipe=1
pristine=

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dmaheap
default_line=6.12

say() { echo "kernel: $*" >&2; }
fail() {
	local code=$1
	shift
	say "$*"
	exit "$code"
}

fragments=()
flavours=()
keep_going=
cached=
what=image
arch=arm64
while [ $# -gt 0 ]; do
	case $1 in
	--config)
		[ $# -ge 2 ] || fail 2 "--config needs a file"
		[ -r "$2" ] || fail 2 "cannot read the config fragment $2"
		fragments+=("$(realpath "$2")")
		shift
		;;
	--arch)
		[ $# -ge 2 ] || fail 2 "--arch needs an architecture"
		arch=$2
		shift
		;;
	--debug) flavours+=(debug) ;;
	--with)
		[ $# -ge 2 ] || fail 2 "--with needs a name"
		flavours+=("$2")
		shift
		;;
	--keep-going) keep_going=yes ;;
	--cached) cached=yes ;;
	image | selftest | line) what=$1 ;;
	*) fail 2 "unknown argument '$1' (see the head of $0)" ;;
	esac
	shift
done

# What the kernel calls the architecture, its compilers, the file that QEMU
# boots, and the least configuration for its machine.
case $arch in
arm64)
	karch=arm64
	target=aarch64-linux-gnu-
	image=Image
	arch_configs=(arm64-virt.config)
	;;
# The others say only what differs.
arm)
	karch=arm
	target=arm-linux-gnueabihf-
	image=zImage
	arch_configs=(arm64-virt.config arm-virt.config)
	;;
riscv64)
	karch=riscv
	target=riscv64-linux-gnu-
	image=Image
	arch_configs=(arm64-virt.config riscv64-virt.config)
	;;
amd64)
	karch=x86
	target=x86_64-linux-gnu-
	image=bzImage
	arch_configs=(arm64-virt.config amd64-virt.config)
	;;
*) fail 2 "no machine of architecture '$arch'" ;;
esac

elapsed() {
	local s=$(($(date +%s) - $1))
	if [ $s -ge 60 ]; then
		printf '%dm%02ds' $((s / 60)) $((s % 60))
	else
		printf '%ds' $s
	fi
}

# grouped LOG COMMAND... starts a command in a process group of its own, as $job.
# Ending make alone would leave the makes and compilers below it at work.
job=
grouped() {
	local log=$1
	shift
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	job=$!
	set +m
}
trap '[ -z "$job" ] || kill -TERM -- "-$job" 2>/dev/null; exit 130' INT TERM HUP

# run_logged LABEL LOG TOTAL COMMAND... runs a long command into a log and counts
# the files it makes: one line that moves on a terminal, a plain line now and
# then anywhere else. TOTAL is how many the last full run took, 0 for unknown.
run_logged() {
	local label=$1 log=$2 total=$3 start pid now shown=0 done_ of="" rc=0
	shift 3
	[ "$total" -eq 0 ] || of="/~$total"
	start=$(date +%s)
	grouped "$log" "$@"
	pid=$job
	while kill -0 "$pid" 2>/dev/null; do
		now=$(date +%s)
		done_=$(grep -cE '^  (CC|AS|LD|AR|HOSTCC|HOSTLD|UNPACK) ' "$log" || true)
		if [ -t 2 ]; then
			printf '\r\033[K%s: %d%s objects, %s' "$label" "$done_" "$of" "$(elapsed "$start")" >&2
		elif [ $((now - start - shown)) -ge 20 ]; then
			shown=$((now - start))
			printf '%s: %d%s objects, %s\n' "$label" "$done_" "$of" "$(elapsed "$start")" >&2
		fi
		sleep 0.5
	done
	wait "$pid" || rc=$?
	job=
	[ ! -t 2 ] || printf '\r\033[K' >&2
	if [ $rc -ne 0 ]; then
		grep -nE 'error:|Error [0-9]|undefined reference' "$log" | head -n 10 >&2 || true
		say "last lines of $log:"
		tail -n 20 "$log" >&2
		fail 3 "$label failed after $(elapsed "$start")"
	fi
	done_=$(grep -cE '^  (CC|AS|LD|AR|HOSTCC|HOSTLD) ' "$log" || true)
	echo "$label: $done_ objects in $(elapsed "$start")" >&2
}

# locked NAME waits until no other run works on NAME; the lock goes with the process.
locked() {
	mkdir -p "$cache/lock"
	exec 9>"$cache/lock/$1"
	if ! flock -n 9; then
		say "waiting for another run that works on $1"
		flock 9
	fi
}

kernel_version() {
	sed -n 's/^VERSION = *//p;s/^PATCHLEVEL = */./p;s/^SUBLEVEL = */./p;/^NAME/q' "$1/Makefile" | tr -d '\n'
}

# --- which source -----------------------------------------------------------

if [ -n "${KERNEL_SRC:-}" ]; then
	[ -d "$KERNEL_SRC" ] || fail 2 "KERNEL_SRC=$KERNEL_SRC: no such directory"
	KERNEL_SRC=$(realpath "$KERNEL_SRC")
	if [ ! -r "$KERNEL_SRC/Kbuild" ] || [ ! -r "$KERNEL_SRC/Makefile" ]; then
		fail 2 "KERNEL_SRC=$KERNEL_SRC is no kernel tree (no Kbuild or Makefile)"
	fi
	version=$(kernel_version "$KERNEL_SRC")
	V=${V:-$(echo "$version" | cut -d. -f1,2)}
else
	V=${V:-$default_line}
fi
export V
if [ "$what" = line ]; then
	echo "$V"
	exit 0
fi

[ -n "$cached" ] || "$here/setup.sh" --arch "$arch" kernel

if [ -n "${KERNEL_SRC:-}" ]; then
	# Size and time of every file: any edit of the tree is another kernel.
	source_id=tree-$(cd "$KERNEL_SRC" &&
		find . -name .git -prune -o -type f -printf '%p %s %T@\n' | sort | sha256sum | cut -c1-16)
elif [ "$V" = "$default_line" ]; then
	tarball=/usr/src/linux-source-$V.tar.xz
	[ -r "$tarball" ] || fail 3 "no $tarball: install Debian's linux-source-$V or set KERNEL_SRC"
	version=$(dpkg-query -W -f '${Version}' "linux-source-$V" 2>/dev/null) ||
		version=$V-$(stat -c '%s-%Y' "$tarball")
	source_id=debian-$version
	version=${version%%-*}
else
	# The other lines come from other releases of Debian than the one at hand.
	if [ -n "$cached" ] && ! compgen -G "$cache/source/linux-$V-*" >/dev/null; then
		fail 3 "not built yet: $what of kernel $V"
	fi
	pristine=$("$top/kernel-patches/source.sh" "$V") || fail 3 "no source of kernel $V: set KERNEL_SRC"
	source_id=$(basename "$pristine")
	version=$(kernel_version "$pristine")
fi

# --- which patches ----------------------------------------------------------

patch_dir=${DMAHEAP_PATCHES:-$top/kernel-patches/$V}
patches=()
if [ "$patch_dir" != none ]; then
	[ -d "$patch_dir" ] ||
		fail 2 "no patches for $V: $patch_dir is no directory; docs/kernel.md tells how to make them, and DMAHEAP_PATCHES=none does without"
	patch_dir=$(realpath "$patch_dir")
	if [ -r "$patch_dir/series" ]; then
		mapfile -t names < <(sed 's/#.*//;s/[[:space:]]*$//;/^$/d' "$patch_dir/series")
	else
		mapfile -t names < <(cd "$patch_dir" && find . -maxdepth 1 -name '*.patch' -printf '%P\n' | sort)
	fi
	for n in "${names[@]}"; do
		if [ -r "$patch_dir/$n" ]; then
			patches+=("$patch_dir/$n")
		elif [ -n "$keep_going" ]; then
			say "warning: the series names $n, which is not there"
		else
			fail 2 "the series names $patch_dir/$n, which is not there"
		fi
	done
fi

# --- which configuration and compiler ---------------------------------------

configs=("${arch_configs[@]/#/$top/kernel-patches/configs/}")
[ -z "${DMAHEAP_BASE_CONFIG:-}" ] || configs=("$DMAHEAP_BASE_CONFIG")
flavour=plain
if [ ${#flavours[@]} -gt 0 ]; then
	flavour=$(IFS=- && echo "${flavours[*]}")
	for f in "${flavours[@]}"; do
		configs+=("$top/kernel-patches/configs/$f.config")
	done
fi
for c in "${configs[@]}"; do
	[ -r "$c" ] || fail 2 "cannot read the config fragment $c"
done
configs+=("${fragments[@]}")

if ! compiler=$("${target}gcc" --version 2>/dev/null | head -n 1); then
	fail 3 "no ${target}gcc"
fi

content() { [ $# -eq 0 ] || cat -- "$@" | sha256sum; }
short() { sha256sum | cut -c1-16; }
patch_id=$(content "${patches[@]}" | short)
# Comments of a fragment, such as the name of the file it was made from, make
# no other kernel.
config_id=$(grep -hE '^(CONFIG_|# CONFIG_[A-Za-z0-9_]+ is not set)' "${configs[@]}" | short)
compiler_id=$(echo "$compiler" | short)

case $what in
image)
	key=$(echo "$recipe $source_id $patch_id $config_id $compiler_id $flavour" | short)
	out=$cache/kernel/$V-$arch-$flavour-$key
	artefact=$out/$image
	;;
selftest)
	key=$(echo "$recipe $source_id $compiler_id" | short)
	out=$cache/selftest/$V-$arch-$key
	artefact=$out/dmabuf-heap
	;;
esac

# --- what the configuration must hold ---------------------------------------

# A fragment asks in vain when its symbol is unknown to this kernel or one of the
# symbol's dependencies is off; kconfig itself only mumbles.
check_config() {
	local f line name value missing=()
	for f in "${fragments[@]}"; do
		while read -r line; do
			case $line in
			"# CONFIG_"*" is not set")
				name=${line#\# }
				name=${name% is not set}
				value=n
				;;
			CONFIG_*=*)
				name=${line%%=*}
				value=${line#*=}
				;;
			*) continue ;;
			esac
			if [ "$value" = n ]; then
				! grep -q "^$name=" "$1" || missing+=("$name=n")
			else
				grep -qxF "$name=$value" "$1" || missing+=("$name=$value")
			fi
		done <"$f"
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ -n "$keep_going" ]; then
		say "warning: kernel $version with these patches cannot have ${missing[*]}"
		say "warning: heaps that need it will be missing"
		return 0
	fi
	fail 1 "kernel $version with these patches cannot have ${missing[*]} (asked for by ${fragments[*]})"
}

if [ -s "$artefact" ]; then
	[ "$what" = selftest ] || check_config "$out/config"
	echo "$artefact"
	exit 0
fi
[ -z "$cached" ] || fail 3 "not built yet: $what of kernel $V"

# --- source -----------------------------------------------------------------

pristine=${pristine:-$cache/source/$source_id}
if [ ! -d "$pristine" ]; then
	locked "source-$source_id"
	if [ ! -d "$pristine" ]; then
		start=$(date +%s)
		tmp=$cache/source/.$source_id.partial
		rm -rf "$tmp"
		mkdir -p "$tmp"
		if [ -n "${KERNEL_SRC:-}" ]; then
			say "copying $KERNEL_SRC"
			tar -C "$KERNEL_SRC" --exclude-vcs -cf - . | tar -C "$tmp" -xf - ||
				fail 3 "could not copy $KERNEL_SRC to $tmp"
			# A tree that was built in place cannot be built out of place.
			if [ -e "$tmp/.config" ] || [ -d "$tmp/include/config" ]; then
				make -s -C "$tmp" "ARCH=$karch" mrproper >&2 || fail 3 "make mrproper failed in the copy of $KERNEL_SRC"
			fi
		else
			say "unpacking $tarball"
			tar -C "$tmp" --strip-components=1 -xf "$tarball" || fail 3 "could not unpack $tarball"
		fi
		mv "$tmp" "$pristine"
		say "source of $version ready in $(elapsed "$start")"
	fi
	exec 9>&-
fi

export ARCH=$karch CROSS_COMPILE=$target
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_USER=dmaheap
export KBUILD_BUILD_HOST=dmaheap KBUILD_BUILD_VERSION=1 LOCALVERSION=
# make's own variables would reach the kernel's make from `make demo`. In their
# place come those that the Makefile of a vendor's tree may set for itself: only
# a command line is stronger, and merge_config.sh has its own.
unset MFLAGS MAKELEVEL MAKEOVERRIDES
export MAKEFLAGS="ARCH=$karch CROSS_COMPILE=$target"
jobs=${JOBS:-$(nproc)}

# --- the kernel's own selftest ----------------------------------------------

if [ "$what" = selftest ]; then
	locked "selftest-$V-$key"
	if [ ! -s "$artefact" ]; then
		tmp=$cache/selftest/.$V-$arch-$key.partial
		rm -rf "$tmp"
		mkdir -p "$tmp/headers" "$tmp/out"
		run_logged "user headers of $version" "$tmp/headers.log" 0 \
			make -C "$pristine" "O=$tmp/headers" "-j$jobs" headers
		tests=$pristine/tools/testing/selftests
		"${target}gcc" -static -O2 -Wall -isystem "$tmp/headers/usr/include" -I "$tests" \
			-o "$tmp/out/dmabuf-heap" "$tests/dmabuf-heaps/dmabuf-heap.c" >&2 ||
			fail 3 "the selftest of $version does not compile"
		mv "$tmp/out" "$out"
		rm -rf "$tmp"
	fi
	echo "$artefact"
	exit 0
fi

# --- a tree with the patches ------------------------------------------------

# One tree and one object directory per source, compiler and flavour: kbuild
# rebuilds just what another patch or option touches, provided that the path
# stays and every file that changes gets a new time.
work=$cache/build/$source_id-$compiler_id-$flavour
src=$work/src
obj=$work/obj
locked "build-$source_id-$compiler_id-$flavour"

if [ -s "$artefact" ]; then
	check_config "$out/config"
	echo "$artefact"
	exit 0
fi

# The files a patch names: both sides, so that created, deleted and renamed
# files are all there.
touched_by() {
	[ $# -eq 0 ] || sed -nE \
		-e 's#^(---|\+\+\+) [ab]/([^\t]*).*#\2#p' \
		-e 's#^(rename|copy) (from|to) ##p' "$@" | sort -u
}

if [ ! -e "$work/patched" ]; then
	# New, or left half done: nothing in it can be trusted.
	rm -rf "$work"
	mkdir -p "$obj"
	cp -al "$pristine" "$src" 2>/dev/null || { rm -rf "$src" && cp -a "$pristine" "$src"; }
	: >"$work/files"
	echo none >"$work/patched"
fi

if [ "$(cat "$work/patched")" != "$patch_id" ]; then
	rm "$work/patched"
	rm -rf "$work/before"
	mkdir "$work/before"
	{
		cat "$work/files"
		touched_by "${patches[@]}"
	} | sort -u >"$work/files.all"
	while read -r f; do
		if [ -e "$src/$f" ]; then
			mkdir -p "$work/before/$(dirname "$f")"
			cp -p "$src/$f" "$work/before/$f"
			rm "$src/$f"
		fi
		# A copy, not a link: patches must never reach the pristine tree.
		if [ -e "$pristine/$f" ]; then
			cp "$pristine/$f" "$src/$f"
		fi
	done <"$work/files.all"
	for p in "${patches[@]}"; do
		if ! patch -d "$src" -p1 -F0 -s --no-backup-if-mismatch <"$p" >"$work/patch.log" 2>&1; then
			head -n 10 "$work/patch.log" >&2
			if [ -n "${KERNEL_SRC:-}" ]; then
				say "if that tree has the patches already: DMAHEAP_PATCHES=none"
			fi
			fail 1 "$(basename "$p") does not apply to $version ($source_id)"
		fi
	done
	while read -r f; do
		if [ -e "$src/$f" ] && cmp -s "$work/before/$f" "$src/$f"; then
			touch -r "$work/before/$f" "$src/$f"
		fi
	done <"$work/files.all"
	touched_by "${patches[@]}" >"$work/files"
	rm -rf "$work/before" "$work/files.all" "$work/patch.log"
	echo "$patch_id" >"$work/patched"
fi

# --- build ------------------------------------------------------------------

label="kernel $version"
[ "$flavour" = plain ] || label="$label $flavour"
total=0
if [ ! -e "$obj/vmlinux" ]; then
	# The first run has only an estimate to go by.
	total=$(cat "$cache/build/objects-$arch-$flavour" 2>/dev/null || echo 1000)
	first=yes
fi

configure() {
	cd "$src" && scripts/kconfig/merge_config.sh -n -O "$obj" "${configs[@]}"
}
grouped "$work/config.log" configure
wait "$job" || {
	tail -n 20 "$work/config.log" >&2
	fail 3 "merging the configuration failed, see $work/config.log"
}
job=
check_config "$obj/.config"
goals=("$image")
! grep -q '^CONFIG_MODULES=y' "$obj/.config" || goals+=(modules)
run_logged "$label, ${#patches[@]} patch(es)" "$work/build.log" "$total" \
	make -C "$src" "O=$obj" "-j$jobs" "${goals[@]}"
[ -z "${first:-}" ] ||
	grep -cE '^  (CC|AS|LD|AR|HOSTCC|HOSTLD) ' "$work/build.log" >"$cache/build/objects-$arch-$flavour"

tmp=$cache/kernel/.$V-$arch-$flavour-$key.partial
rm -rf "$tmp"
mkdir -p "$tmp"
cp "$obj/arch/$karch/boot/$image" "$obj/System.map" "$tmp/"
cp "$obj/.config" "$tmp/config"
if [ ${#goals[@]} -gt 1 ]; then
	# Nothing here looks modules up by name, so depmod has no part in it.
	make -s -C "$src" "O=$obj" "INSTALL_MOD_PATH=$tmp" DEPMOD=true modules_install >"$work/modules.log" 2>&1 || {
		tail -n 20 "$work/modules.log" >&2
		fail 3 "installing the modules failed, see $work/modules.log"
	}
	find "$tmp/lib/modules" -type l -delete
fi
{
	echo "version $version"
	echo "source $source_id"
	echo "compiler $compiler"
	for p in "${patches[@]}"; do echo "patch $(basename "$p")"; done
} >"$tmp/about"
mv "$tmp" "$out"
echo "$artefact"
