# What the scripts that run guest tests share. Sourced.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$repo" || exit

# guests [--arch ARCH] NAME...: makes guests, and tells the tests where they are: in the testbed of another architecture
# the host's files are below /host.
guests() {
    local name folder arch=() below=
    if [[ $1 == --arch ]]; then
        arch=(--arch "$2")
        if [[ $2 != "$(uname -m)" ]]; then below=/host; fi
        shift 2
    fi
    for name in "$@"; do
        folder=$("resources/guests/$name/build" "${arch[@]}")
        export "AMI_RUN_GUEST_${name^^}=$below$folder"
    done
}

# program [CARGO-OPTION...]: builds the tests and prints where their program is.
# shellcheck disable=SC2120  # with options by those who source this
program() {
    local said found
    said=$(cargo test --locked --release -p ami-run --test guests --no-run "$@" 2>&1) || {
        echo "$said" >&2
        return 1
    }
    found=$(sed -n 's/^ *Executable .* (\(.*\))$/\1/p' <<<"$said")
    [[ $found == /* ]] || found=$repo/$found
    echo "$found"
}

# run_tests PROGRAM [TESTBED-OPTION...] -- TEST...: runs tests where KVM is real. Where that is a machine inside an
# emulator, the emulator itself may fail (status 125: never a result of the tests): this is said, and the tests are run
# in a new one.
run_tests() {
    local program=$1 attempt status options=()
    shift
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    shift
    for attempt in first second third; do
        status=0
        tests/testbed/run "${options[@]}" --cpus 2 --memory 8192 --timeout 3000 -- \
            "$program" --test-threads 1 --nocapture "$@" </dev/null || status=$?
        ((status == 125)) || return "$status"
        echo "testbed: the nested machine itself failed in the $attempt attempt" >&2
    done
    return 125
}

# in_testbed [--nested] TEST...: builds the tests and runs some.
in_testbed() {
    local program nested=()
    if [[ $1 == --nested ]]; then
        nested=(--nested)
        shift
    fi
    # shellcheck disable=SC2119
    program=$(program)
    run_tests "$program" "${nested[@]}" -- "$@"
}
