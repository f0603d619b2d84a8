# Starts the nested machine, carries the command's input and output, and tells
# how it ended.
# shellcheck shell=bash disable=SC2154,SC2054  # run sets the variables; QEMU's options have commas

# A machine that is ten times slower than any seen still starts in this time.
start_bound=300
# After the command's own time is up, the nested machine ends it; this is how
# long it may take before the machine itself counts as hung.
end_bound=120

work='' qemu_pid='' feeder_pid='' saved_terminal=''

# Folders of runs that were killed too hard to clean up.
remove_stale_folders() {
    local folder
    for folder in "$cache"/testbed/run.*; do
        [[ -d $folder ]] || continue
        flock -n "$folder" rm -rf "$folder" || true
    done
}

make_work_folder() {
    mkdir -p "$cache/testbed"
    remove_stale_folders
    work=$cache/testbed/run.$$
    mkdir -m 700 "$work"
    exec 7<"$work"
    flock 7
    mkdir "$work/in"
    mkfifo "$work"/{stdin,stdout,stderr,control}
}

# Everything that the machine inside is told: init and launch read these.
write_instructions() {
    cp "$testbed/launch" "$work/in/launch"
    printf '%s\0' "$@" >"$work/in/command"
    env -0 >"$work/in/environment"
    printf '%s' "$PWD" >"$work/in/folder"
    echo "$timeout" >"$work/in/timeout"
    visible_folders >"$work/in/visible"
    printf '%s\n' "${shares[@]}" | sed '/^$/d' >"$work/in/shares"
    if [[ $terminal ]]; then stty size <&3 >"$work/in/terminal"; fi
    if [[ $root_folder != / ]]; then : >"$work/in/foreign"; fi
}

# The repository and the caller's folder, where they would not be seen anyway.
visible_folders() {
    local folder
    for folder in "$(realpath "$testbed/../..")" "$(realpath "$PWD")"; do
        if [[ $root_folder != / || $folder == /tmp/* || $folder == /run/* ]]; then
            echo "$folder"
        fi
    done
}

# share_options TAG FOLDER read-only|writable: sets `share`.
share_options() {
    local path=${2//,/,,} mode=''
    if [[ $3 == read-only ]]; then mode=,readonly=on; fi
    share=(-fsdev "local,id=$1,path=$path,security_model=none,multidevs=remap$mode"
        -device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}

# port_options N NAME CHARDEV...: sets `port`.
port_options() {
    port=(-chardev "$3,id=$2" -device "virtserialport,nr=$1,chardev=$2,name=$2")
}

# Sets `options` for QEMU, which is started in $work.
machine_command_line() {
    local number=0 folder share port
    options=(-nodefaults -no-user-config -display none -no-reboot
        -accel tcg,thread=multi -smp "$cpus" -m "$memory" "${machine_options[@]}"
        -kernel "$machine/kernel" -initrd "$machine/initramfs"
        -append "console=$console quiet mitigations=off panic=-1 $kernel_arguments"
        -serial file:console.log -monitor unix:monitor,server=on,wait=off
        -device virtio-serial-pci)
    port_options 1 stdin stdio,signal=off
    options+=("${port[@]}")
    port_options 2 stdout file,path=stdout
    options+=("${port[@]}")
    port_options 3 stderr file,path=stderr
    options+=("${port[@]}")
    port_options 4 control file,path=control
    options+=("${port[@]}")
    share_options in "$work/in" read-only
    options+=("${share[@]}")
    share_options root "$root_folder" read-only
    options+=("${share[@]}")
    if [[ $root_folder != / ]]; then
        share_options host / read-only
        options+=("${share[@]}")
    fi
    for folder in "${shares[@]}"; do
        share_options "share$number" "$folder" writable
        options+=("${share[@]}")
        number=$((number + 1))
    done
}

# relay NAME: a program of its own between QEMU and the caller's output, since
# QEMU would make the caller's descriptor non-blocking. When the caller stops
# reading, the run ends as the command itself would.
relay() {
    dd if="$work/$1" bs=64k status=none &
    echo $! >"$work/$1.pid"
    wait $! 2>/dev/null || kill -s PIPE $$
}

# QEMU holds the pipes open from its first moment to its end, however it ends:
# so whoever reads them sees its death.
# The first CPU of the host that this shell may use.
first_core() { sed -n 's/^Cpus_allowed_list:[[:space:]]*\([0-9]*\).*/\1/p' /proc/self/status; }

start_machine() {
    local pin=()
    if [[ $one_core ]]; then pin=(taskset -c "$(first_core)"); fi
    relay stdout &
    relay stderr >&2 &
    {
        echo go
        if [[ ! $no_input ]]; then exec setpriv --pdeathsig KILL cat <&3; fi
    } 2>/dev/null >"$work/stdin" &
    feeder_pid=$!
    (
        cd "$work" || exit 125
        ulimit -n "$(ulimit -H -n)"
        exec setpriv --pdeathsig KILL "${pin[@]}" "$qemu" "${options[@]}" <stdin >qemu.log 2>&1 \
            3<&- 4>stdout 5>stderr 6>control 7<&-
    ) &
    qemu_pid=$!
    exec 5<"$work/control"
}

# wait_for_output NAME BYTES: what the machine has sent may still be on its way
# through QEMU and the relay, which ends by itself when QEMU has ended.
wait_for_output() {
    local pid written
    pid=$(<"$work/$1.pid")
    while written=$(awk '/^wchar/ {print $2}' "/proc/$pid/io" 2>/dev/null) && [[ $written ]]; do
        if ((written >= $2)); then break; fi
        sleep 0.02
    done
}

# Reads one line from the machine: sets `word` and `rest`, or `word` to `late`
# or `gone`.
hear() {
    local bound=$1 status=0
    word='' rest=''
    read -r -t "$bound" word rest <&5 || status=$?
    if ((status > 128)); then
        word=late
    elif ((status != 0)); then
        word=gone
    fi
}

show_logs() {
    local log
    for log in qemu.log console.log; do
        [[ -s $work/$log ]] || continue
        say "the end of $log:"
        tail -n 45 "$work/$log" | tr -d '\r' | sed 's/^/    /' >&2
    done
    if [[ -s $work/console.log ]]; then
        cp "$work/console.log" "$cache/testbed/last-failure.log"
        say "the whole console is in $cache/testbed/last-failure.log"
    fi
}

# The nested machine failed, whatever the command did: never a pass.
broken() {
    restore_terminal
    say "error: $*"
    show_logs
    exit 125
}

enter_terminal() {
    [[ $terminal ]] || return 0
    saved_terminal=$(stty -g <&3)
    stty raw -echo <&3
}

restore_terminal() {
    [[ $saved_terminal ]] || return 0
    stty "$saved_terminal" <&3 || true
    saved_terminal=
}

clean_up() {
    trap - EXIT
    trap '' HUP INT PIPE TERM
    restore_terminal
    local pid
    for pid in $qemu_pid $feeder_pid $(cat "$work"/*.pid 2>/dev/null || true); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    if [[ $work ]]; then rm -rf "$work"; fi
}

# Ends with the status of the command.
run_nested() {
    local word rest options status out_bytes err_bytes
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
    find_machine "$arch"
    root_folder=/
    if [[ $arch != "$(uname -m)" ]]; then find_foreign_root; fi
    make_work_folder
    write_instructions "$@"
    machine_command_line
    start_machine
    hear "$start_bound"
    case $word in
    started) ;;
    failed) broken "the nested machine failed to start: $rest" ;;
    late) broken "the nested machine did not start within $start_bound s" ;;
    *) broken "the nested machine ended while starting" ;;
    esac
    enter_terminal
    hear $((timeout + end_bound))
    restore_terminal
    case $word in
    exit | timeout) read -r status out_bytes err_bytes <<<"$rest" ;;
    late) broken "the nested machine hangs: no end within $timeout s, and the command could not be ended" ;;
    *) broken "the nested machine crashed while the command ran" ;;
    esac
    wait_for_output stdout "$out_bytes"
    wait_for_output stderr "$err_bytes"
    if [[ $word == timeout ]]; then
        say "the command did not end within $timeout s and was killed"
    fi
    exit "$status"
}
