# Shared by the guest recipes: the cache, status lines, and bytes in disk files.
# shellcheck shell=bash
#
# A recipe is a script that ends up with a folder of finished files and prints
# that folder's path, alone, on standard output:
#
#   source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
#   which_arch ARGUMENT...     where the guest can be of either architecture
#   begin NAME ARGUMENT...     ends the script here if the folder is there already
#   phase "what is done" COMMAND...
#   finish FILE...             keeps these files of the work folder
#
# Between begin and finish the working directory is a new, empty folder.

guests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034  # used by the recipes
need=$guests/../../tests/lib/need
# Partitioning and file system tools live there, and users' PATH may lack it.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s: %s\n' "$recipe" "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# The result depends on the recipe's folder, this file and the arguments only.
recipe_hash() {
    {
        printf '%s\n' "$@"
        cd "$guests" || exit
        find lib.sh "$recipe" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c 1-16
}

# which_arch ARGUMENT...: for a recipe whose guest can be of either architecture.
# Sets `arch` as uname names it and `deb_arch` as Debian does, by `--arch` or
# else by this machine.
# shellcheck disable=SC2034  # used by the recipes
which_arch() {
    arch=$(uname -m)
    if (($# == 2)) && [[ $1 == --arch ]]; then
        arch=$2
        shift 2
    fi
    case $#-$arch in
    0-x86_64) deb_arch=amd64 ;;
    0-aarch64) deb_arch=arm64 ;;
    *)
        echo "usage: build [--arch x86_64|aarch64]" >&2
        exit 2
        ;;
    esac
}

print_if_made() {
    [[ -d $out ]] || return 0
    echo "$out"
    exit 0
}

begin() {
    recipe=$1
    hash=$(recipe_hash "$@")
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/ami-run-test/guests
    mkdir -p "$cache"
    out=$cache/$recipe-$hash
    print_if_made

    exec 8>"$cache/$recipe.lock"
    until flock -w 10 8; do say "waiting for another build of this guest to end"; done
    print_if_made
    # Nobody else holds the lock: such folders are what a killed build left.
    rm -rf "$cache/.$recipe".*
    work=$(mktemp -d "$cache/.$recipe.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    cd "$work" || exit
}

# phase WHAT COMMAND...: runs it with its output in a log; says how long it
# took, and while it runs says so every 10 s.
phase() {
    local what=$1 start=$SECONDS status pipe got
    shift
    exec {pipe}< <(
        trap 'echo $?' EXIT
        "$@" >"$work/log" 2>&1 8>&-
    )
    while :; do
        got=0
        read -r -t 10 status <&"$pipe" || got=$?
        # Above 128 the time was up; else the command ended, perhaps by a signal.
        ((got > 128)) || break
        say "$what: $((SECONDS - start)) s so far: $(tail -n 1 "$work/log" | tr -d '\r' | cut -c 1-90)"
    done
    exec {pipe}<&-
    if [[ $status != 0 ]]; then
        tail -n 30 "$work/log" >&2
        die "$what failed (status ${status:-unknown}); above are the last lines of its output"
    fi
    say "$what: $((SECONDS - start)) s"
}

finish() {
    mkdir "$work/finished"
    mv "$@" "$work/finished"
    mv -T "$work/finished" "$out"
    say "ready after $SECONDS s in all"
    echo "$out"
}

# put FILE OFFSET SOURCE: writes SOURCE into FILE at a byte offset, leaving
# holes where SOURCE holds nothing but zeros.
put() {
    dd if="$3" of="$1" bs=64K seek="$2" oflag=seek_bytes conv=notrunc,sparse status=none
}

# little_endian BYTES NUMBER: the number as raw bytes on standard output.
little_endian() {
    local i escaped=
    for ((i = 0; i < $1; i++)); do
        printf -v escaped '%s\\x%02x' "$escaped" $((($2 >> (8 * i)) & 255))
    done
    printf '%b' "$escaped"
}
