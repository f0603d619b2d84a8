"""How long from just before a process is started to the first byte on its standard output, which the guest's first
instructions write, and to the process' end."""

import os
import sys
import time

import rom
from report import cost_summary

RUNS = 30


class Failed(Exception):
    """A program could not be run."""


def once(command, status):
    """Runs it; returns the seconds to the first byte and to the end."""
    out, its_out = os.pipe()
    err = os.memfd_create("stderr", os.MFD_CLOEXEC)
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, its_out, 1),
        (os.POSIX_SPAWN_DUP2, err, 2),
    ]
    try:
        begin = time.monotonic()
        pid = start(command, files)
        os.close(its_out)
        byte = os.read(out, 1)
        first = time.monotonic()
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        end = time.monotonic()
        if byte != rom.BYTE or ended != status:
            said = os.pread(err, 4096, 0).decode(errors="replace")
            raise Failed(f"{' '.join(command)}\nwrote {byte!r} and ended with status {ended}; it said:\n{said}")
        return first - begin, end - begin
    finally:
        os.close(out)
        os.close(err)


def start(command, files):
    try:
        return os.posix_spawnp(command[0], command, os.environ, file_actions=files)
    except OSError as cause:
        raise Failed(f"{command[0]} cannot be started: {cause.strerror}") from cause


def summary(samples):
    """Median and 90th percentile, in milliseconds."""
    return cost_summary([1000 * sample for sample in samples])


def measure(commands):
    """Runs every command in turn, again and again. `commands` is {name: (command, exit status)}; returns
    {name: {"first": summary, "end": summary, "samples": seconds}}."""
    samples = {name: [] for name in commands}
    for turn in range(RUNS + 1):
        for name, (command, status) in commands.items():
            sample = once(command, status)
            # The first turn only fills the page cache.
            if turn > 0:
                samples[name].append(sample)
        if turn % 10 == 0:
            print(f"launch: {turn} of {RUNS} runs of each", file=sys.stderr, flush=True)
    return {
        name: {"first": summary([s[0] for s in all]), "end": summary([s[1] for s in all]), "samples": all}
        for name, all in samples.items()
    }
