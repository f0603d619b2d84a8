# Running apt-get for `need`: with progress and a log, one at a time, and with
# settings of its own where the machine's own must not be touched.
# shellcheck shell=bash

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ami-run-test
mkdir -p "$cache/apt"
apt_log=$cache/apt/log.$$
lock_options=(-o DPkg::Lock::Timeout=600)
# shellcheck disable=SC2034  # used by need
install_options=(-y --no-install-recommends --no-remove "${lock_options[@]}"
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold)

say() { echo "need: $*" >&2; }
die() {
    echo "need: error: $*" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "installing packages needs root: run as root or install sudo"
    fi
}

# apt's lists and archives have locks that apt does not wait for: runs of
# `need` queue here instead of failing there.
take_turn() {
    exec 9>"$cache/apt/turn"
    until flock -w 10 9; do say "waiting for another installation to end"; done
}

heartbeat() {
    local what=$1 start=$SECONDS
    while sleep 10 && kill -0 $$ 2>/dev/null; do
        say "still $what, $((SECONDS - start)) s: $(tail -n 1 "$apt_log" | tr -d '\r' | cut -c 1-100)"
    done
}

# run_logged WHAT COMMAND...: output goes to the log, a line every 10 s to
# standard error. Somebody else's apt-get may hold a lock: that is waited for.
run_logged() {
    local what=$1 status=0 pulse deadline=$((SECONDS + 600))
    shift
    : >"$apt_log"
    heartbeat "$what" 9>&- &
    pulse=$!
    # shellcheck disable=SC2064  # the pulse of now is meant
    trap "kill $pulse 2>/dev/null || true" EXIT
    while :; do
        status=0
        "$@" </dev/null >>"$apt_log" 2>&1 9>&- || status=$?
        if ((status == 0 || SECONDS > deadline)); then break; fi
        tail -n 5 "$apt_log" | grep -qE 'Could not get lock|Unable to (acquire|lock)' || break
        echo "another apt-get holds the lock; trying again" >>"$apt_log"
        sleep 2
    done
    kill "$pulse" 2>/dev/null || true
    wait "$pulse" 2>/dev/null || true
    trap - EXIT
    if ((status != 0)); then
        tail -n 20 "$apt_log" >&2
        die "$what failed (status $status); the whole log is $apt_log"
    fi
    rm -f "$apt_log"
}

has_candidate() {
    local line
    line=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
    [[ $line && $line != "(none)" ]]
}

codename() {
    (
        # shellcheck source=/dev/null
        source /etc/os-release
        echo "${VERSION_CODENAME:?this system has no release name in /etc/os-release}"
    )
}

# The machine's entries for the distribution itself, as apt reads them: lines
# of `URI SUITE COMPONENT`.
own_entries() {
    local name entries
    name=$(codename)
    # shellcheck disable=SC2016  # apt expands these
    entries=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(CODENAME)' \
        'Created-By: Packages' |
        awk -v name="$name" 'index($2, name) == 1 || index($4, name) == 1 {print $1, $2, $3}' | sort -u)
    [[ $entries ]] || die "apt has no source for $name: add the distribution's own to /etc/apt/sources.list"
    echo "$entries"
}

# The key file that the machine's sources name for a URI, if they name one;
# without one apt uses its trusted keys here as there.
signing_key() {
    local uri=${1%/} file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        case $file in
        *.sources)
            awk -v RS= -v uri="$uri" 'index($0, uri) && match($0, /\n[Ss]igned-[Bb]y: *\/[^\n]+/) {
                line = substr($0, RSTART + 1, RLENGTH - 1); sub(/^[^:]*: */, "", line); print line; exit }' "$file"
            ;;
        *.list)
            [[ ! -f $file ]] ||
                awk -v uri="$uri" '/^deb / && index($0, uri) && match($0, /signed-by=[^] ]+/) {
                    print substr($0, RSTART + 10, RLENGTH - 10); exit }' "$file"
            ;;
        esac
    done | sed -n 1p
}

apt_folder() {
    local folder=$cache/apt/$1
    mkdir -p "$folder"/{sources,lists/partial,state,cache/archives/partial}
    echo "$folder"
}

# source_lines ARCH: for entries on standard input, the lines of a source list.
source_lines() {
    local uri suite component key flags
    while read -r uri suite component; do
        key=$(signing_key "$uri")
        flags="${1:+ arch=$1}${key:+ signed-by=$key}"
        echo "deb ${flags:+[${flags# }] }$uri $suite $component"
    done
}

# write_sources FOLDER ARCH KIND: the distribution's own entries, and with KIND
# `backports` its backports beside them. Also sets `private_options`, which
# point apt at FOLDER and, with an ARCH, at a machine of that architecture
# where nothing is installed.
write_sources() {
    local folder=$1 arch=$2 kind=$3 entries name
    name=$(codename)
    entries=$(own_entries)
    if [[ $kind == backports ]]; then
        entries+=$'\n'$(awk -v name="$name" '$2 == name {print $1, name "-backports", $3}' <<<"$entries")
    fi
    source_lines "$arch" <<<"$entries" >"$folder/sources/own.list"
    private_options=("${lock_options[@]}" -o Dir::Etc::SourceList=/dev/null
        -o "Dir::Etc::SourceParts=$folder/sources" -o "Dir::State::lists=$folder/lists"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o APT::Sandbox::User=root -o Acquire::Languages=none)
    if [[ $arch ]]; then
        : >"$folder/state/status"
        private_options+=(-o "Dir::State=$folder/state" -o "Dir::State::status=$folder/state/status"
            -o "Dir::Cache=$folder/cache" -o "APT::Architecture=$arch" -o "APT::Architectures=$arch")
    fi
}

# private_apt FOLDER ARG...: apt-get with the settings of write_sources; needs
# no root, since it writes only below FOLDER.
private_apt() {
    local folder=$1
    shift
    apt-get "${private_options[@]}" -o "Dir::Cache=$folder/cache" "$@"
}
