# What the scripts that run guest tests share. Sourced.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$repo" || exit

# guest NAME...: makes guests, and tells the tests where they are.
guests() {
    local name folder
    for name in "$@"; do
        folder=$("resources/guests/$name/build")
        export "AMI_RUN_GUEST_${name^^}=$folder"
    done
}

# program: builds the tests and prints where their program is.
program() {
    local said found
    said=$(cargo test --locked --release -p ami-run --test guests --no-run 2>&1) || {
        echo "$said" >&2
        return 1
    }
    found=$(sed -n 's/^ *Executable .* (\(.*\))$/\1/p' <<<"$said")
    [[ $found == /* ]] || found=$repo/$found
    echo "$found"
}

# in_testbed [--nested] TEST...: runs tests where KVM is real. Where that is a machine inside an emulator, the emulator itself
# may fail (status 125: never a result of the tests): this is said, and the tests are run in a new one.
in_testbed() {
    local program attempt status nested=()
    if [[ $1 == --nested ]]; then
        nested=(--nested)
        shift
    fi
    program=$(program)
    for attempt in first second third; do
        status=0
        tests/testbed/run "${nested[@]}" --cpus 2 --memory 8192 --timeout 3000 -- \
            "$program" --test-threads 1 --nocapture "$@" </dev/null || status=$?
        ((status == 125)) || return "$status"
        echo "testbed: the nested machine itself failed in the $attempt attempt" >&2
    done
    return 125
}
