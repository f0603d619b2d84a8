"""A stock Debian to its login prompt: what it costs the host beside running the guest.

Run as a program, this is the part that runs where KVM is real: it starts the command behind `--`, waits for the
prompt and prints one line of JSON with the counters of that moment."""

import glob
import json
import os
import signal
import subprocess
import sys
import time

from launch import Failed

PROMPT = b"login: "
BOUND_S = 1200
# tests/testbed/run: the nested machine itself has failed, which is no result.
TESTBED_FAILED = 125


def cpu_seconds(stat):
    """User and system time without the time in the guest, from the text of /proc/PID/stat (proc(5): fields 14, 15 and
    43; field 3 follows the name's bracket)."""
    fields = stat.rpartition(")")[2].split()
    user, system, guest = (int(fields[number - 3]) for number in (14, 15, 43))
    return (user + system - guest) / os.sysconf("SC_CLK_TCK")


def exits(pid):
    """KVM's own counters of the process' machine; none where debugfs may not be read. Their folder is named by the
    thread that made the machine."""
    threads = os.listdir(f"/proc/{pid}/task")
    counters = {}
    for folder in (found for tid in threads for found in glob.glob(f"/sys/kernel/debug/kvm/{tid}-*")):
        for path in glob.glob(f"{folder}/*"):
            if os.path.isfile(path):
                with open(path, encoding="ascii") as file:
                    words = file.read().split()
                if len(words) == 1:
                    counters[os.path.basename(path)] = int(words[0])
    return counters


def watch(command, is_said=lambda seen: PROMPT in seen):
    """Starts it, waits for the prompt or what else its console is to say, and returns what it has cost by then."""
    begin = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    signal.signal(signal.SIGALRM, lambda *_: child.kill())
    signal.alarm(BOUND_S)
    told, seen = begin, b""
    try:
        while not is_said(seen):
            piece = os.read(child.stdout.fileno(), 65536)
            if not piece:
                late = f"was not said within {time.monotonic() - begin:.0f} s"
                sys.exit(f"what was waited for {late}; the console ended with {seen[-400:]!r}")
            seen += piece
            if time.monotonic() > told + 10:
                told = time.monotonic()
                print(f"boot: {told - begin:.0f} s", file=sys.stderr, flush=True)
        wall = time.monotonic() - begin
        with open(f"/proc/{child.pid}/stat", encoding="ascii") as stat:
            cpu = cpu_seconds(stat.read())
        return {"wall_s": wall, "vmm_cpu_s": cpu, "kvm": exits(child.pid)}
    finally:
        signal.alarm(0)
        child.kill()
        child.wait()
        child.stdout.close()


def measure(testbed, command):
    """Watches the command where KVM is real; returns the counters."""
    return in_testbed(testbed, [sys.executable, os.path.abspath(__file__), "--", *command], BOUND_S + 60)


def in_testbed(testbed, command, bound_s):
    """What the command prints where KVM is real, which is JSON."""
    for attempt in (1, 2, 3):
        run = [testbed, "--cpus", "2", "--memory", "6144", "--timeout", str(bound_s), "--", *command]
        ended = subprocess.run(run, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
        if ended.returncode == 0:
            return json.loads(ended.stdout)
        if ended.returncode != TESTBED_FAILED:
            break
        print(f"boot: the testbed itself failed in attempt {attempt}", file=sys.stderr, flush=True)
    raise Failed(f"{' '.join(command)}\nended with status {ended.returncode} in the testbed")


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[sys.argv.index("--") + 1 :])))
