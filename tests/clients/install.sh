# Gets the clients from their registries into the cache. Each function sets the folder where they are, or `why` there
# are none and fails.
# shellcheck shell=bash disable=SC2034

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ami-run-test/clients
mkdir -p "$cache"

# The newest of each on 22 November 2026.
pip_packages=(awscli==1.46.3 botocore==1.44.5)
uefivars_packages=(uefivars==1.2 google-crc32c==1.9.0 deepdiff==9.1.0)
npm_packages=(@smithy/credential-provider-imds@4.5.2)

# kept NAME WHAT... : the folder of what was made of these words; true if it is there already.
kept() {
    local name=$1
    shift
    folder=$cache/$name-$(sha256sum <<<"$*" | cut -c 1-16)
    exec 8>"$folder.lock"
    flock 8
    [[ -e $folder/done ]]
}

# Everything that was made is there, so that a run that was cut off is none.
made() {
    touch "$folder/done"
}

begin_anew() {
    rm -rf "$folder"
    mkdir -p "$folder"
    echo "installing $*" >&2
}

python_clients() {
    python3 -c 'import ensurepip' 2>/dev/null || tests/lib/need python3-venv >&2 ||
        { why="python3-venv cannot be installed" && return 1; }
    if ! kept python "$(python3 -c 'import sys; print(sys.version, sys.prefix)')" "${pip_packages[@]}"; then
        begin_anew "${pip_packages[@]}"
        { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "${pip_packages[@]}" >&2; } ||
            { why="pip cannot install ${pip_packages[*]}" && return 1; }
        made
    fi
    python=$folder
}

# No client of the metadata service: tests/uefi asks it.
uefivars_tool() {
    python3 -c 'import ensurepip' 2>/dev/null || tests/lib/need python3-venv >&2 ||
        { why="python3-venv cannot be installed" && return 1; }
    if ! kept uefivars "$(python3 -c 'import sys; print(sys.version, sys.prefix)')" "${uefivars_packages[@]}"; then
        begin_anew "${uefivars_packages[@]}"
        { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "${uefivars_packages[@]}" >&2; } ||
            { why="pip cannot install ${uefivars_packages[*]}" && return 1; }
        made
    fi
    uefivars=$folder/bin
}

node_clients() {
    command -v npm >/dev/null || tests/lib/need nodejs npm >&2 || { why="npm cannot be installed" && return 1; }
    if ! kept node "${npm_packages[@]}"; then
        begin_anew "${npm_packages[@]}"
        npm install --silent --no-audit --no-fund --prefix "$folder" "${npm_packages[@]}" >&2 ||
            { why="npm cannot install ${npm_packages[*]}" && return 1; }
        made
    fi
    node=$folder
}

# Debian has it for its initramfs: the program is unpacked, not installed.
ignition_client() {
    if ! kept ignition ignition; then
        begin_anew ignition
        { tests/lib/need --download "$folder" ignition >&2 && dpkg -x "$folder"/ignition_*.deb "$folder/unpacked"; } ||
            { why="this distribution has no package of it" && return 1; }
        made
    fi
    ignition=$folder/unpacked/usr/lib/dracut/modules.d/30ignition/ignition
}

aws_config_client() {
    local source=tests/clients/aws-config
    if ! kept aws-config "$(cat $source/Cargo.toml $source/Cargo.lock $source/src/main.rs)" "$(rustc --version)"; then
        begin_anew "aws-config: it compiles for minutes"
        # Apart from what is made, so that a run that was cut off goes on where it was.
        cargo install --quiet --debug --locked --path $source --root "$folder" --target-dir "$cache/compiled" >&2 ||
            { why="it cannot be compiled" && return 1; }
        rm -rf "$cache/compiled"
        made
    fi
    aws_config=$folder/bin/aws-config-client
}

# By its own lock file.
afterburn_client() {
    local version=afterburn@5.11.0
    tests/lib/need libssl-dev pkg-config >&2 || { why="libssl-dev cannot be installed" && return 1; }
    if ! kept afterburn "$version" "$(rustc --version)"; then
        begin_anew "$version: it compiles for minutes"
        cargo install --quiet --debug --locked "$version" --root "$folder" --target-dir "$cache/compiled-afterburn" >&2 ||
            { why="it cannot be compiled" && return 1; }
        rm -rf "$cache/compiled-afterburn"
        made
    fi
    afterburn=$folder/bin/afterburn
}
