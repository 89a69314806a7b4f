#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# source.sh - print the path of an unpacked, unpatched kernel source
#
# usage: kernel-patches/source.sh 5.10|6.1|6.12|7.3
#
# It is Debian's linux-source of that line: the installed package if there is
# one, otherwise fetched once from the suite that carries it. For that, apt gets
# a sources list and an index of its own, and the machine's are left alone; apt
# checks the package against the signed index. The tree is kept in
# ${XDG_CACHE_HOME:-~/.cache}/dmaheap/source and is meant to be read only.
#
# exit: 0 printed, 2 usage, 3 the source could not be had
set -euo pipefail
export LC_ALL=C

say() { echo "source: $*" >&2; }

version=${1:-}
case $version in
5.10) suite=bullseye-security archive=debian-security ;;
6.1) suite=bookworm-security archive=debian-security ;;
6.12) suite=bookworm-security archive=debian-security ;;
7.3) suite=trixie-backports archive=debian ;;
*)
	say "usage: $0 5.10|6.1|6.12|7.3"
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

fetch_package() {
	local dir=$1 uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	uri=$(archive_uri)
	if [ -z "$uri" ]; then
		say "apt knows no Debian archive; install linux-source-$version by hand"
		return 1
	fi
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	echo "deb [signed-by=$keyring] $uri $suite main" >"$dir/sources.list"
	local options=(
		-q -o "Dir::Etc::sourcelist=$dir/sources.list"
		-o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/lists"
		-o "Dir::Cache=$dir" -o APT::Sandbox::User=root
	)
	say "fetching linux-source-$version from $suite"
	apt-get "${options[@]}" update >&2
	(cd "$dir" && apt-get "${options[@]}" download "linux-source-$version" >&2)
}

tarball=/usr/src/linux-source-$version.tar.xz
if [ -r "$tarball" ]; then
	id=$(dpkg-query -W -f '${Version}' "linux-source-$version" 2>/dev/null) || id=local
	tree=$cache/linux-$version-$id
else
	tree=$(find "$cache" -maxdepth 1 -type d -name "linux-$version-*" | sort -V | tail -n 1)
fi
if [ -n "$tree" ] && [ -r "$tree/Kbuild" ]; then
	echo "$tree"
	exit 0
fi

work=$(mktemp -d "$cache/.work-XXXXXX")
trap 'rm -rf "$work"' EXIT
if [ ! -r "$tarball" ]; then
	fetch_package "$work" || {
		say "linux-source-$version could not be fetched"
		exit 3
	}
	package=$(find "$work" -maxdepth 1 -name '*.deb')
	id=$(dpkg-deb -f "$package" Version)
	dpkg-deb -x "$package" "$work/package"
	tarball=$work/package/usr/src/linux-source-$version.tar.xz
	tree=$cache/linux-$version-$id
fi
say "unpacking linux-source-$version $id"
tar -C "$work" -xf "$tarball" || exit 3
rm -rf "$tree"
mv "$work/linux-source-$version" "$tree"
echo "$tree"
