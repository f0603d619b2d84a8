"""Volumes by themselves, with no machine: what volume-bench (tests/bench/volume) measures, and hydration beside
qemu-img convert."""

import json
import os
import random
import shutil
import subprocess
import tempfile
import time

from launch import Failed, summary

# The samples of volume-bench that have a target, by how their rows begin, and the least that a raw file's may be
# multiplied by.
LEAST = {"read 4 KiB at random": 0.95, "rewrite 4 KiB at random": 0.97, "first write": 0.5}
# Requests whose system calls are counted.
COUNTED = 20000
HYDRATIONS = 3
SOURCE_MIB = 128
FORMATS = {
    "qcow2": ["-O", "qcow2"],
    "qcow2, compressed": ["-c", "-O", "qcow2"],
    "streamOptimized VMDK": ["-O", "vmdk", "-o", "subformat=streamOptimized"],
}


def output(command, **options):
    """What a command prints; it must succeed."""
    try:
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    except OSError as cause:
        raise Failed(f"{command[0]} cannot be started: {cause.strerror}") from cause
    if ran.returncode != 0:
        raise Failed(f"{' '.join(command)}\nended with status {ran.returncode}; it said:\n{ran.stderr}")
    return ran.stdout


def measured(program, *words):
    return json.loads(output([program, *words]))


def pair_ratio(ours, theirs):
    """The median of the ratios of neighbours in time: what else the machine did met both of a pair."""
    ratios = sorted(one / other for one, other in zip(ours, theirs))
    middle = len(ratios) // 2
    return (ratios[middle] + ratios[-1 - middle]) / 2


def open_rows(table, program, folder, record):
    samples = measured(program, "open", folder)
    record["open"] = samples
    for name, all in samples.items():
        table.limit(name, summary(ms / 1000 for ms in all[1:]), "ms", 1)
    both = (samples[f"open a new volume of {size}"] for size in ("1 GiB", "64 GiB"))
    small, large = (summary(ms / 1000 for ms in one) for one in both)
    table.against("open a new volume of 64 GiB", large, "ms", "of 1 GiB", small, 1.5)


def io_rows(table, program, folder, record):
    rows = measured(program, "io", folder)["rows"]
    record["io"] = rows
    for row in rows:
        ours, theirs = row["volume"], row["file"]
        unit, scale = ("MiB/s", row["len"] / 2**20) if row["len"] >= 2**20 else ("IOPS", 1)
        rates = [[rate * scale for rate in side["per_second"]] for side in (ours, theirs)]
        least = next((least for start, least in LEAST.items() if row["row"].startswith(start)), None)
        table.rates(row["row"], rates[0], unit, "raw file", rates[1], least, pair_ratio(*rates))
        cpu = [summary(us / 1000 for us in side["cpu_us"]) for side in (ours, theirs)]
        table.against(f"  its CPU time; {row['workers']} kernel workers", cpu[0], "µs", "raw file", cpu[1])


def flush_rows(table, program, folder, record):
    rows = measured(program, "flush", folder)["rows"]
    record["flush"] = rows
    for row in rows:
        ours, theirs = (summary(us / 1000 for us in row[side]) for side in ("volume", "file"))
        table.against(row["row"], ours, "µs", "fdatasync of a raw file", theirs)


def calls(program, folder, *words):
    """System calls of one run, the kernel's own workers left out."""
    with tempfile.NamedTemporaryFile("r", dir=folder) as counts:
        output(["strace", "-f", "-c", "-U", "calls,name", "-o", counts.name, program, "steady", folder, *words])
        lines = [line.split() for line in counts.read().splitlines()]
    return next(int(line[0]) for line in lines if line[-1:] == ["total"])


def call_rows(table, program, folder, record):
    record["calls"] = {}
    for op, depth in (("read", 1), ("read", 32), ("rewrite", 1), ("base", 8)):
        each = []
        for side in ("volume", "file"):
            # Both prepare the same disk first.
            before, after = (calls(program, folder, side, op, str(depth), str(count)) for count in (0, COUNTED))
            each.append((after - before) / COUNTED)
        name = "read of the base" if op == "base" else op
        table.against(f"system calls a {name}, depth {depth}", each[0], "", "raw file", each[1])
        record["calls"][f"{op} {depth}"] = each


def hundred_rows(table, program, folder, record):
    with subprocess.Popen([program, "hundred", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        line = child.stdout.readline()
        if not line:
            raise Failed("volume-bench hundred ended early")
        told = json.loads(line)
        cached = resident([told["base"]["path"], *told["paths"]])
        child.stdin.close()
        child.stdout.read()
    record["hundred"] = {**told, "cached": cached}
    mib, base, count = 2**20, told["base"], told["volumes"]
    beside = base["disk"] + told["disk"] - count * told["written"]
    row = f"{count} volumes: disk, without the 1 MiB that each wrote"
    table.against(row, beside / mib, "MiB", "the base", base["disk"] / mib, 1.1)
    table.against(f"{count} volumes: page cache", cached / mib, "MiB", "the base", base["bytes"] / mib, 1.1)
    dirty = told["dirty"]
    for when in ("opened", "used"):
        table.told(f"memory of a volume and its queue, {when}", (dirty[when] - dirty["before"]) / count / 1024, "KiB")


def resident(paths):
    """Bytes of these files that are in the page cache."""
    return sum(int(word) for word in output(["fincore", "--bytes", "--noheadings", "--output", "RES", *paths]).split())


def write_source(path):
    """A disk's content as disks have it: a quarter each of zeroes and of noise, the rest text."""
    chance = random.Random(7)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(500)]
    text = " ".join(chance.choices(words, k=200000)).encode()
    with open(path, "wb") as file:
        for _ in range(SOURCE_MIB * 16):
            kind, start = chance.randrange(4), chance.randrange(len(text) - 65536)
            file.write([bytes(65536), chance.randbytes(65536)][kind] if kind < 2 else text[start : start + 65536])


def timed(command, **options):
    begin = time.monotonic()
    output(command, **options)
    return time.monotonic() - begin


def hydration_rows(table, program, folder, record):
    source, copy = (os.path.join(folder, name) for name in ("source.raw", "copy.raw"))
    write_source(source)
    record["hydration"] = {}
    for number, name in enumerate([*FORMATS, "xz"]):
        file = os.path.join(folder, f"disk-{number}")
        if name == "xz":
            with open(file, "wb") as out:
                subprocess.run(["xz", "-1", "--stdout", source], stdout=out, check=True)
            peer, command = "xz -dc", ["sh", "-c", f"xz --decompress --stdout < '{file}' > '{copy}'"]
        else:
            output(["qemu-img", "convert", "-f", "raw", *FORMATS[name], source, file])
            peer, command = "qemu-img convert", ["qemu-img", "convert", "-O", "raw", file, copy]
        ours, theirs = [], []
        for _ in range(HYDRATIONS):
            ours.append(SOURCE_MIB / measured(program, "hydrate", folder, file)["seconds"])
            theirs.append(SOURCE_MIB / timed(command))
            os.remove(copy)
        table.rates(f"read all of a disk: {name}", ours, "MiB/s", peer, theirs, None, pair_ratio(ours, theirs))
        record["hydration"][name] = {"ami-run": ours, peer: theirs}
        os.remove(file)


def measure(row, table, program, record, out):
    """One of the rows volume, hundred, hydration. Files are on the file system of `out`."""
    with tempfile.TemporaryDirectory(dir=out) as folder:
        if row == "hundred":
            return hundred_rows(table, program, folder, record)
        if row == "hydration":
            return hydration_rows(table, program, folder, record)
        open_rows(table, program, folder, record)
        io_rows(table, program, folder, record)
        flush_rows(table, program, folder, record)
        if shutil.which("strace"):
            return call_rows(table, program, folder, record)
        record["missing"].append("system calls of a request: strace is not installed")
    return None
