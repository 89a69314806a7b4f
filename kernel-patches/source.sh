#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# source.sh - print the path of an unpacked, unpatched kernel source
#
# usage: kernel-patches/source.sh [--orig] 5.10|6.1|6.12|7.3
#
# It is Debian's linux-source of that line: the installed package if there is
# one, otherwise fetched once from the suite that carries it. With --orig it is
# what Debian's source was made from, the upstream release without Debian's
# patches. For either, apt gets a sources list and an index of its own, and the
# machine's are left alone; apt checks what it fetches against the signed index.
# The tree is kept in ${XDG_CACHE_HOME:-~/.cache}/dmaheap/source and is meant to
# be read only.
#
# exit: 0 printed, 2 usage, 3 the source could not be had
set -euo pipefail
export LC_ALL=C

say() { echo "source: $*" >&2; }

orig=
if [ "${1:-}" = --orig ]; then
	orig=yes
	shift
fi
version=${1:-}
case $version in
5.10) suite=bullseye-security archive=debian-security ;;
6.1) suite=bookworm-security archive=debian-security ;;
6.12) suite=bookworm-security archive=debian-security ;;
7.3) suite=trixie-backports archive=debian ;;
'')
	say "usage: $0 [--orig] 5.10|6.1|6.12|7.3"
	exit 2
	;;
*)
	say "Debian has no linux-source of $version, only of 5.10, 6.1, 6.12 and 7.3; set KERNEL_SRC to a tree of it"
	exit 2
	;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/dmaheap/source
mkdir -p "$cache"
exec 9>"$cache/.lock-$version"
flock 9

# The archives the machine itself uses, and where this one is next to them.
archive_uri() {
	local uris
	# shellcheck disable=SC2016 # it is apt that expands it
	uris=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sed 's|/*$||' | sort -u)
	grep -m 1 -E "/$archive\$" <<<"$uris" ||
		sed -n -E "s,/debian(-security)?\$,/$archive,p" <<<"$uris" | head -n 1
}

# fetch DIR downloads the package, or the upstream tarball of its source.
fetch() {
	local dir=$1 uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	uri=$(archive_uri)
	if [ -z "$uri" ]; then
		say "apt knows no Debian archive; install linux-source-$version by hand"
		return 1
	fi
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	echo "deb${orig:+-src} [signed-by=$keyring] $uri $suite main" >"$dir/sources.list"
	local options=(
		-q -o "Dir::Etc::sourcelist=$dir/sources.list"
		-o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/lists"
		-o "Dir::Cache=$dir" -o APT::Sandbox::User=root
	)
	say "fetching linux-source-$version${orig:+, as it was upstream,} from $suite"
	apt-get "${options[@]}" update >&2
	if [ -n "$orig" ]; then
		(cd "$dir" && apt-get "${options[@]}" source --download-only --tar-only "linux-source-$version" >&2)
	else
		(cd "$dir" && apt-get "${options[@]}" download "linux-source-$version" >&2)
	fi
}

# cached NAME prints the tree of that name, or the newest of that pattern.
cached() {
	local tree
	tree=$(find "$cache" -maxdepth 1 -type d -name "$1" | sort -V | tail -n 1)
	[ -n "$tree" ] && [ -r "$tree/Kbuild" ] && echo "$tree"
}

# unpack TARBALL NAME makes a tree of a tarball that has it in one folder.
unpack() {
	say "unpacking $2"
	mkdir "$work/tree"
	tar -C "$work/tree" --strip-components=1 -xf "$1" || exit 3
	rm -rf "${cache:?}/$2"
	mv "$work/tree" "$cache/$2"
	echo "$cache/$2"
}

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
failed() {
	say "linux-source-$version could not be fetched"
	exit 3
}

tarball=/usr/src/linux-source-$version.tar.xz
if [ -n "$orig" ]; then
	cached "linux-orig-$version.*" && exit 0
	work=$(mktemp -d "$cache/.work-XXXXXX")
	fetch "$work" || failed
	tarball=$(find "$work" -maxdepth 1 -name '*.orig.tar.xz')
	[ -n "$tarball" ] || failed
	name=$(basename "$tarball" .orig.tar.xz)
	unpack "$tarball" "linux-orig-${name##*_}"
elif [ -r "$tarball" ]; then
	id=$(dpkg-query -W -f '${Version}' "linux-source-$version" 2>/dev/null) || id=local
	cached "linux-$version-$id" && exit 0
	work=$(mktemp -d "$cache/.work-XXXXXX")
	unpack "$tarball" "linux-$version-$id"
else
	cached "linux-$version-*" && exit 0
	work=$(mktemp -d "$cache/.work-XXXXXX")
	fetch "$work" || failed
	package=$(find "$work" -maxdepth 1 -name '*.deb')
	dpkg-deb -x "$package" "$work/package"
	unpack "$work/package$tarball" "linux-$version-$(dpkg-deb -f "$package" Version)"
fi
