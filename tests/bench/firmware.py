"""What firmware costs: from process start to the boot loader's first word, by SeaBIOS and by OVMF, where KVM is real.

The loader is one sector, which speaks with its first instructions (loader.py): so the word is also the moment at which
the first block of what is started has been read, checked and entered. Whether a disk is read is not looked at itself,
since the two programs would have to be asked in two ways.

Run as a program, this is the part in the testbed: it is given the commands as JSON, runs them in turn, and prints one
line of JSON with the samples."""

import json
import os
import subprocess
import sys
import time

import boot
import loader
import programs
from report import cost_summary

# A run takes a second or two where KVM is the hardware's, and half a minute where it is emulated.
RUNS, RUNS_AT_LEAST = 30, 2
ENOUGH_S = 240
# By the clock of the testbed, which can run ahead.
BOUND_S = 3600
# KVM's names of those that are printed; bench.json has the others.
KINDS = {"exits": "exits", "io_exits": "exits, ports", "mmio_exits": "exits, memory"}


def is_said(seen):
    # Four, since SeaBIOS may have more to say of its own in between.
    return seen.count(loader.WORD[:1]) >= len(loader.WORD)


def run_in_turn(commands, watch, clock=time.monotonic):
    """Runs all again and again, until the time is spent; returns the samples of each."""
    samples, begin = [[] for _ in commands], clock()
    for turn in range(RUNS):
        if turn >= RUNS_AT_LEAST and clock() - begin > ENOUGH_S:
            break
        for each, command in zip(samples, commands):
            each.append(watch(command, is_said))
        print(f"firmware: {turn + 1} runs of each, {clock() - begin:.0f} s", file=sys.stderr, flush=True)
    return samples


def clock_ran_ahead(samples, elapsed_s):
    """An emulated machine that gets little of its processor can believe in more time than went by outside."""
    return sum(sample["wall_s"] for each in samples for sample in each) > elapsed_s


def add_rows(table, firmware, samples, is_timed, missing):
    """`samples` is {program: samples of one firmware}."""
    ours, theirs = samples["ami-run"], samples["qemu -M pc"]

    def row(what, unit, figure):
        both = (cost_summary([figure(sample) for sample in each]) for each in (ours, theirs))
        table.against(f"{firmware} to the loader: {what}", next(both), unit, "qemu -M pc", next(both))

    if is_timed:
        row("wall time", "s", lambda sample: sample["wall_s"])
        row("VMM's CPU", "s", lambda sample: sample["vmm_cpu_s"])
    else:
        missing.append(f"times of {firmware}: the testbed's clock ran ahead of this machine's, which has other work")
    if not all("exits" in sample["kvm"] for sample in (*ours, *theirs)):
        missing.append(f"exits of {firmware}: /sys/kernel/debug/kvm can only be read by root")
        return
    for kind, what in KINDS.items():
        row(what, "", lambda sample, kind=kind: sample["kvm"][kind])


def measure(table, testbed, program, record, folder):
    disk = os.path.join(folder, "loader.raw")
    loader.write_disk(disk)
    commands = programs.loader_commands(program, disk)
    names = [(firmware, name) for firmware, both in commands.items() for name in both]
    ordered = [commands[firmware][name] for firmware, name in names]
    here = [sys.executable, os.path.abspath(__file__), json.dumps(ordered)]
    begin = time.monotonic()
    answer = boot.in_testbed(testbed, here, BOUND_S)
    is_timed = not clock_ran_ahead(answer, time.monotonic() - begin)
    samples = dict(zip(names, answer))
    record["firmware"] = {
        "commands": {" ".join(name): command for name, command in zip(names, ordered)},
        "samples": {" ".join(name): each for name, each in samples.items()},
    }
    for firmware, both in commands.items():
        add_rows(table, firmware, {name: samples[firmware, name] for name in both}, is_timed, record["missing"])


def main():
    commands = json.loads(sys.argv[1])
    # The programs themselves come from a page cache then, not from the disk.
    for program in dict.fromkeys(command[0] for command in commands):
        subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, check=True)
    print(json.dumps(run_in_turn(commands, boot.watch)))


if __name__ == "__main__":
    main()
