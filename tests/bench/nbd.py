"""A volume beside a qcow2 overlay by qemu-storage-daemon, both served by NBD to the same client, fio."""

import json
import os
import subprocess
import tempfile
import time

import volumes
from launch import Failed

ROUNDS = 3
SECONDS = 1
BASE_MIB, SIZE_MIB, WRITTEN_MIB = 256, 1024, 256
FIRST_MIB = (SIZE_MIB - WRITTEN_MIB) // (ROUNDS * 2)
OURS, THEIRS = "ami-run", "qcow2 by qemu-storage-daemon"
SAME = ["--bs=4k", f"--size={WRITTEN_MIB}m", "--time_based", f"--runtime={SECONDS}"]


class Server:
    """A process that serves a disk on a socket, from when it can be used to the end of the block."""

    def __init__(self, command, socket):
        self.command, self.socket = command, socket

    def __enter__(self):
        self.child = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 30
        while not os.path.exists(self.socket):
            if self.child.poll() is not None or time.monotonic() > end:
                self.child.kill()
                raise Failed(f"{' '.join(self.command)}\ncannot be used; it said:\n{self.child.communicate()[1]}")
            time.sleep(0.05)
        return f"nbd+unix:///?socket={self.socket}"

    def __exit__(self, *_):
        self.child.terminate()
        self.child.communicate()


def ours(program, folder, base):
    volume, socket = (os.path.join(folder, name) for name in ("ours.vol", "ours.sock"))
    volumes.output([program, "volume", "create", volume, "--from", base, "--size", str(SIZE_MIB >> 10)])
    return Server([program, "volume", "serve", volume, "--socket", socket], socket)


def theirs(folder, base):
    overlay, socket = (os.path.join(folder, name) for name in ("theirs.qcow2", "theirs.sock"))
    volumes.output(["qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "raw", overlay, f"{SIZE_MIB}M"])
    file = f"driver=file,node-name=file,filename={overlay},aio=io_uring,cache.direct=on"
    disk = "driver=qcow2,node-name=disk,file=file"
    server = ["--nbd-server", f"addr.type=unix,addr.path={socket}"]
    export = ["--export", "type=nbd,id=disk,node-name=disk,name=,writable=on"]
    return Server(["qemu-storage-daemon", "--blockdev", file, "--blockdev", disk, *server, *export], socket)


def fio(uri, *options):
    command = ["fio", "--name=bench", "--ioengine=nbd", f"--uri={uri}", "--output-format=json", *options]
    said = volumes.output(command)
    # What libnbd says comes before.
    return json.loads(said[said.index("{") :])["jobs"][0]


def rate(uri, *options):
    job = fio(uri, *options)
    return job["read"]["iops"] + job["write"]["iops"]


def loads(turn):
    """What is measured, with fio's options. First writes go where no earlier turn has written."""
    first = WRITTEN_MIB + turn * FIRST_MIB
    for depth in (1, 8, 32):
        yield f"NBD: read 4 KiB at random, depth {depth}", ["--rw=randread", f"--iodepth={depth}", *SAME]
    yield "NBD: rewrite 4 KiB at random, depth 8", ["--rw=randwrite", "--iodepth=8", *SAME]
    yield "NBD: rewrite 4 KiB and flush, depth 1", ["--rw=randwrite", "--iodepth=1", "--fsync=1", *SAME]
    where = [f"--offset={first}m", f"--size={FIRST_MIB}m", f"--runtime={SECONDS}"]
    yield "NBD: first write of 4 KiB at random, depth 8", ["--rw=randwrite", "--bs=4k", "--iodepth=8", *where]
    where[0] = f"--offset={first + ROUNDS * FIRST_MIB}m"
    both = ["--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1"]
    yield "NBD: first write of 4 KiB and flush, depth 1", [*both, *where]


def measure(table, program, record, out):
    samples = {}
    with tempfile.TemporaryDirectory(dir=out) as folder:
        base = os.path.join(folder, "base.raw")
        with open(base, "wb") as file:
            file.write(os.urandom(1 << 20) * BASE_MIB)
        servers = {OURS: ours(program, folder, base), THEIRS: theirs(folder, base)}
        with servers[OURS] as on_volume, servers[THEIRS] as on_overlay:
            uris = {OURS: on_volume, THEIRS: on_overlay}
            for uri in uris.values():
                fio(uri, "--rw=write", "--bs=1m", "--iodepth=4", f"--size={WRITTEN_MIB}m", "--end_fsync=1")
            for turn in range(ROUNDS):
                for row, options in loads(turn):
                    for name in sorted(uris, reverse=turn % 2 == 1):
                        samples.setdefault(row, {}).setdefault(name, []).append(rate(uris[name], *options))
        record["nbd"] = {"commands": {name: server.command for name, server in servers.items()}, "results": samples}
    for row, both in samples.items():
        table.rates(row, both[OURS], "IOPS", THEIRS, both[THEIRS], None, volumes.pair_ratio(both[OURS], both[THEIRS]))
