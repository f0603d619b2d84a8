# What it takes to build for another architecture than this machine's. Sourced.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$repo" || exit
rust_arm64=aarch64-unknown-linux-gnu

# need_library TARGET: the compiler's standard library for TARGET is there or is installed by rustup; or one line says
# what to do.
need_library() {
    local libraries deb
    libraries=$(rustc --print target-libdir --target "$1")
    if compgen -G "$libraries/libstd-*.rlib" >/dev/null; then return; fi
    if command -v rustup >/dev/null; then
        rustup target add "$1"
        return
    fi
    case $1 in aarch64-*) deb=arm64 ;; *) deb=amd64 ;; esac
    echo "error: this compiler, $(rustc --version), has no standard library for $1: install Rust by rustup" \
        "(https://rustup.rs) and run this again, or take your distribution's library for its own compiler" \
        "(Debian, Ubuntu: \`dpkg --add-architecture $deb\`, \`apt-get update\`, then libstd-rust-dev:$deb, or" \
        "libstd-rust-web-dev:$deb beside rustc-web)" >&2
    return 1
}

# use_arm64: cargo can build and link for arm64 after it.
use_arm64() {
    need_library "$rust_arm64"
    if [[ $(uname -m) != aarch64 ]]; then
        tests/lib/need gcc-aarch64-linux-gnu libc6-dev-arm64-cross
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    fi
}
