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
HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")


def mappings(smaps):
    """Splits the text of /proc/PID/smaps into (name, size, private dirty), in KiB."""
    found = []
    for line in smaps.splitlines():
        head = HEAD.match(line)
        if head:
            found.append([head.group(1) or "anonymous", 0, 0])
        elif line.startswith("Size:"):
            found[-1][1] = int(line.split()[1])
        elif line.startswith("Private_Dirty:"):
            found[-1][2] = int(line.split()[1])
    return found


def outside_ram(all):
    """The dirty KiB by name. Guest RAM is the mapping that is large enough for it; should the kernel have merged it
    with neighbours, these count as dirty in full."""
    ram = [one for one in all if one[1] >= RAM_KIB]
    if len(ram) != 1:
        raise Failed(f"{len(ram)} mappings are as large as the guest's RAM: which is it?")
    dirty = {}
    for one in all:
        kib = one[1] - RAM_KIB if one is ram[0] else one[2]
        if kib:
            name = "beside guest RAM" if one is ram[0] else os.path.basename(one[0])
            dirty[name] = dirty.get(name, 0) + kib
    return dirty


def settled(pid):
    """Reads until two readings are the same."""
    before, end = None, time.monotonic() + 30
    while time.monotonic() < end:
        with open(f"/proc/{pid}/smaps", encoding="utf-8") as smaps:
            now = outside_ram(mappings(smaps.read()))
        if now == before:
            return now
        before = now
        time.sleep(0.2)
    raise Failed("its memory does not settle within 30 s")


def measure(command):
    """Returns {"kib": sum, "parts": {name: KiB}}."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        try:
            if child.stdout.read(1) != rom.BYTE:
                raise Failed(f"{' '.join(command)}\nsaid: {child.stderr.read().decode(errors='replace')}")
            parts = settled(child.pid)
        finally:
            child.send_signal(signal.SIGKILL)
    return {"kib": sum(parts.values()), "parts": parts}
