# The root of a nested machine of another architecture than the host's: the
# distribution's packages, unpacked and never run here. The host's own files
# are below /host in it.
# shellcheck shell=bash disable=SC2154  # run and arch/*.sh set the variables

# What the testbed itself needs, then what tests of guests do.
root_packages=bash,bsdutils,busybox-static,coreutils,dash,grep,iproute2,mount,procps,psmisc,sed,util-linux
root_packages+=,mtools,openssh-client,qemu-efi-aarch64

# find_foreign_root: sets `root_folder`.
find_foreign_root() {
    local recipe
    recipe=$(sha256sum <"$testbed/foreign.sh" | cut -c 1-16)
    root_folder=$cache/testbed/root-$arch-$recipe
    [[ ! -e $root_folder ]] || return 0
    mkdir -p "$cache/testbed"
    exec 8>"$cache/testbed/root.lock"
    flock -n 8 || {
        say "waiting for another run to make the nested machine's root"
        flock 8
    }
    if [[ ! -e $root_folder ]]; then
        "$testbed/../lib/need" mmdebstrap
        say "unpacking a root of $arch packages (once, about 30 s)"
        rm -rf "$root_folder.new"
        "$testbed/../lib/need" --sources "$deb_arch" >"$root_folder.list"
        unpack_root "$root_folder.new" >"$root_folder.log" 2>&1 || {
            tail -n 10 "$root_folder.log" >&2
            fail "cannot unpack a root of $arch packages: see $root_folder.log"
        }
        rm "$root_folder.list" "$root_folder.log"
        mv "$root_folder.new" "$root_folder"
    fi
    exec 8>&-
}

# Chained, since a caller that tests the result switches `set -e` off in here.
unpack_root() {
    local suite
    # shellcheck source=/dev/null
    suite=$(source /etc/os-release && echo "$VERSION_CODENAME") &&
        mmdebstrap --variant=extract --architectures="$deb_arch" --include="$root_packages" \
            "$suite" "$1" "$root_folder.list" &&
        # What the packages' scripts would have made.
        echo root:x:0:0:root:/root:/bin/bash >"$1/etc/passwd" &&
        echo root:x:0: >"$1/etc/group" &&
        ln -sf dash "$1/bin/sh" &&
        echo 127.0.0.1 localhost >"$1/etc/hosts" &&
        mkdir -p "$1"/{host,dev,proc,sys,tmp,run}
}
