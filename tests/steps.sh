# Runs the steps of a make target: each with a title, its output as it comes and
# a sign of life every few seconds; then a table of what passed, failed and was
# skipped. Sourced by the scripts in tests/make.
#
# A step is a command. It fails by its exit code; 77 says that all of it was
# skipped. Each line of its output that holds `skipped: WHAT: WHY` is repeated
# at the end. Standard error has the progress, standard output what the steps
# print and the table. Each step's output is kept in the build folder.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo" || exit
logs=${CARGO_TARGET_DIR:-$repo/target}/steps
titles=() results=() times=() skips=()
passed=0 failed=0 skipped=0
running=
# Of the step that runs beside others: its process, its title, its log, and when it began.
beside_pid='' beside_title='' beside_log='' beside_start=''
heartbeat=10
# What the guest recipes, the testbed and the tests of tables use. Each asks for its own; this is for the list that
# is shown before anything is installed.
# shellcheck disable=SC2034  # used by the targets
guest_packages=(
    qemu-system-x86 seabios ovmf shim-unsigned systemd-boot-efi acpica-tools device-tree-compiler dmidecode
    busybox-static cpio kmod xz-utils zstd
    grub-pc-bin grub-efi-amd64-bin grub-common fdisk mmdebstrap uidmap gdisk e2fsprogs dosfstools mtools
    binutils make python3 fio qemu-utils libnbd-bin xfsprogs gzip curl openssl python3-venv openssh-client
    openssh-server
)
# And what guests and programs of the other architecture do.
# shellcheck disable=SC2034  # used by the targets
arm64_packages=(qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross fakeroot)

say() { echo "$*" >&2; }

# begin NAME HOW_LONG WHAT: says what will be done before anything is done.
begin() {
    target=$1
    say "make $1: $3"
    say "It takes $2. Logs: $logs"
    rm -rf "$logs"
    mkdir -p "$logs"
    trap 'interrupted INT 130' INT
    trap 'interrupted TERM 143' TERM
    trap 'interrupted HUP 129' HUP
}

interrupted() {
    say "$target: SIG$1: ending ${titles[-1]:-}"
    local pid
    for pid in $running $beside_pid; do
        kill -TERM -- "-$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    exit "$2"
}

# use_cargo: finds cargo and what it links with, or ends with one line that says what to do.
use_cargo() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repo/Cargo.toml")
    if ! command -v cargo >/dev/null; then PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH; fi
    if ! found=$(cargo --version 2>/dev/null); then
        say "error: there is no cargo: install Rust $wanted or newer with rustup, then run this again"
        exit 2
    fi
    found=${found#cargo } found=${found%% *}
    if [[ $(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1) != "$wanted" ]]; then
        say "error: cargo $found is too old: run \`rustup update stable\` (Rust $wanted or newer is needed)"
        exit 2
    fi
    # The program is linked statically: .cargo/rustc-static.
    if [[ $(cc -print-file-name=libc.a 2>/dev/null) != /* ]]; then
        say "error: there is no cc or no static C library: install gcc and libc6-dev (Debian, Ubuntu), or gcc and glibc-static (Fedora), then run this again"
        exit 2
    fi
    export PATH
}

# use_packages PACKAGE...: lists what of it is missing, then installs that.
use_packages() {
    local missing=() name
    for name in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
    done
    if ((${#missing[@]} == 0)); then
        say "All packages that it needs are installed."
        return
    fi
    say "It installs these packages, and removes none: ${missing[*]}"
    must "packages" tests/lib/need "${missing[@]}"
}

# step TITLE COMMAND...: runs it and notes how it went.
step() {
    local title=$1 log status=0 out start=$SECONDS
    shift
    titles+=("$title")
    log=$logs/$(printf '%02d' "${#titles[@]}")-${title//[^a-zA-Z0-9]/-}.log
    say
    say "== $title: $*"
    # A session of its own: a signal can then be sent to all that the step has started.
    exec {out}< <(exec setsid "$@" </dev/null 2>&1)
    running=$!
    # In the background, since bash lets a signal wait for a pipeline in the foreground.
    relay "$title" "$running" <&"$out" | tee "$log" &
    wait "$!" || true
    exec {out}<&-
    wait "$running" || status=$?
    running=
    note "$title" "$status" $((SECONDS - start)) "$log"
}

# beside TITLE COMMAND...: a step that runs beside those that follow, on all cores but the first, which the testbed of
# x86_64 keeps busy alone. Its output comes with `join_beside`. One at a time.
beside() {
    local cores=() others=()
    beside_title=$1 beside_start=$EPOCHSECONDS
    shift
    beside_log=$logs/beside-${beside_title//[^a-zA-Z0-9]/-}.log
    mapfile -t cores < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
    if ((${#cores[@]} > 1)); then others=(taskset -c "$(IFS=, && echo "${cores[*]:1}")"); fi
    say
    say "== $beside_title, beside what follows: $*"
    setsid "${others[@]}" "$@" </dev/null >"$beside_log" 2>&1 &
    beside_pid=$!
}

# join_beside: shows what that step says, to its end, and notes how it went.
join_beside() {
    local status=0 log=$beside_log
    say
    say "== $beside_title: waiting for its end"
    relay "$beside_title" "$beside_pid" < <(exec tail -n +1 -f --pid="$beside_pid" "$log")
    wait "$beside_pid" || status=$?
    beside_pid=
    titles+=("$beside_title")
    note "$beside_title" "$status" $(($(stat -c %Y "$log") - beside_start)) "$log"
}

# note TITLE STATUS SECONDS LOG: adds a finished step to the table.
note() {
    local line
    times+=("$3")
    while IFS= read -r line; do skips+=("$1: ${line#*skipped: }"); done < <(grep -E '(^|[^a-z])skipped: ' "$4")
    case $2 in
    0) results+=(passed) passed=$((passed + 1)) ;;
    77) results+=(skipped) skipped=$((skipped + 1)) ;;
    *)
        results+=("failed ($2)") failed=$((failed + 1))
        say "== $1: failed with status $2 after $3 s; log: $4"
        ;;
    esac
}

# relay TITLE PID: copies lines as they come, and says that the step still runs when none comes. Ends with the
# output, or with the step if something that it left behind keeps the output open.
relay() {
    local line start=$SECONDS partial='' status
    while :; do
        status=0
        IFS= read -r -t "$heartbeat" line || status=$?
        if ((status == 0)); then
            printf '%s\n' "$partial$line"
            partial=
        elif ((status > 128)); then
            partial+=$line
            kill -0 "$2" 2>/dev/null || break
            say "   $1: still running, $((SECONDS - start)) s"
        else
            partial+=$line
            break
        fi
    done
    [[ -z $partial ]] || printf '%s\n' "$partial"
}

# must TITLE COMMAND...: a step that everything after it needs.
must() {
    step "$@"
    if [[ ${results[-1]} == failed* ]]; then
        say "== nothing after this step can work: the rest was not run"
        finish
    fi
}

# finish: prints the table and ends with 0 if no step failed.
finish() {
    local at
    echo
    for at in "${!titles[@]}"; do
        printf '%-40s %6s s  %s\n' "${titles[at]}" "${times[at]}" "${results[at]}"
    done
    if ((${#skips[@]} > 0)); then
        echo "Skipped:"
        printf '  %s\n' "${skips[@]}"
    fi
    echo "make $target: $SECONDS s; logs: $logs"
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0)) || exit 1
    exit 0
}
