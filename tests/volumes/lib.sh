# What the tests of volumes by outside tools share: servers, and a folder that goes. Sourced.
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by the scripts

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
program=${AMI_RUN:-${CARGO_TARGET_DIR:-$repo/target}/release/ami-run}
client=$repo/tests/volumes/client.py
work=$(mktemp -d "${TMPDIR:-/var/tmp}/volumes.XXXXXX")
export AMI_RUN_STATE_DIR=$work/state
server=
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work" || exit

clean_up() {
    if [[ $server ]]; then kill -KILL "$server" 2>/dev/null || true; fi
    cd / && rm -rf "$work"
}

say() { printf '%s\n' "$*"; }

die() {
    say "FAILED: $*" >&2
    exit 1
}

# check WHAT COMMAND...: runs it quietly; what it said is shown if it fails.
check() {
    local what=$1
    shift
    "$@" >check.log 2>&1 </dev/null || {
        local status=$?
        tail -n 40 check.log >&2
        [[ ! -s server.log ]] || sed 's/^/server: /' server.log >&2
        die "$what: status $status of: $*"
    }
    say "ok    $what"
}

# serve SNAPSHOT|VOLUME...: `ami-run ARGUMENTS serve`, until it can be used. Sets `uri` and `server`.
serve() {
    local kind=$1
    shift
    rm -f server.log
    "$program" "$kind" serve "$@" --socket "$work/socket" 2>server.log </dev/null &
    server=$!
    uri="nbd+unix:///?socket=$work/socket"
    for _ in {1..600}; do
        if grep -qs "^serving " server.log; then return; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    sed 's/^/server: /' server.log >&2
    die "the server of $* cannot be used"
}

# end_server SIGNAL STATUS: ends it, and sees that it ends so. (Not by INT: what a script starts in the background
# ignores that.)
end_server() {
    local status=0
    kill "-$1" "$server"
    wait "$server" 2>/dev/null || status=$?
    server=
    ((status == $2)) || die "the server ended with $status instead of $2: $(cat server.log)"
}
