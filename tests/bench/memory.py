"""Private_Dirty of a process outside its guest's RAM, while the guest is halted."""

import os
import re
import signal
import subprocess
import time

import programs
import rom
from launch import Failed

RAM_KIB = programs.TINY_MIB << 10
HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)$")


class Mapping:
    """One entry of /proc/PID/smaps, in KiB."""

    def __init__(self, head):
        start, end, name = head.groups()
        self.start, self.end = int(start, 16) >> 10, int(end, 16) >> 10
        self.size = self.end - self.start
        self.name = os.path.basename(name) or "anonymous"
        self.dirty = 0


def mappings(smaps):
    found = []
    for line in smaps.splitlines():
        head = HEAD.match(line)
        if head:
            found.append(Mapping(head))
        elif line.startswith("Private_Dirty:"):
            found[-1].dirty = int(line.split()[1])
    return found


def guest_ram(all):
    """The fewest KiB of neighbours that hold the guest's RAM. Advice to the kernel splits mappings, and the kernel
    merges those that are alike, so that another's may be in the first or the last."""
    runs = []
    for first in range(len(all)):
        for last in range(first, len(all)):
            if last > first and all[last].start != all[last - 1].end:
                break
            size = all[last].end - all[first].start
            if size >= RAM_KIB:
                runs.append((size, first, last))
                break
    if not runs:
        raise Failed("no mapping is as large as the guest's RAM")
    _, first, last = min(runs)
    return all[first : last + 1]


def outside_ram(all):
    """The dirty KiB by name. What was merged with guest RAM counts as dirty in full."""
    ram = guest_ram(all)
    merged = sum(one.size for one in ram) - RAM_KIB
    dirty = {"beside guest RAM": merged} if merged else {}
    for one in all:
        if one.dirty and one not in ram:
            dirty[one.name] = dirty.get(one.name, 0) + one.dirty
    return dirty


def parts(pid):
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as smaps:
        return outside_ram(mappings(smaps.read()))


def settled(*pids):
    """The parts of each, read until two readings are the same."""
    before, end = None, time.monotonic() + 30
    while time.monotonic() < end:
        now = [parts(pid) for pid in pids]
        if now == before:
            return now
        before = now
        time.sleep(0.2)
    raise Failed("memory does not settle within 30 s")


def measure(command):
    """Returns {"kib": sum, "parts": {name: KiB}}."""
    with open(command[0], "rb") as program:
        # Pages of a program that was built a moment ago are dirty until they are on the disk.
        os.fsync(program.fileno())
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        try:
            if child.stdout.read(1) != rom.BYTE:
                raise Failed(f"{' '.join(command)}\nsaid: {child.stderr.read().decode(errors='replace')}")
            (found,) = settled(child.pid)
        finally:
            child.send_signal(signal.SIGKILL)
    return {"kib": sum(found.values()), "parts": found}
