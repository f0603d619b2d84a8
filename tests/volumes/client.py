#!/usr/bin/env python3
"""An NBD client that knows what a volume may hold after its server was killed.

Every sector holds a tag of its own: the sector's number and the number of the write. The client keeps for each sector
what it may read as: what a flush (or a write with FUA) has covered, or anything that was written later. Writes that are
in flight at the same time never overlap, so that the order of two writes to a sector is known.

  client.py base FILE                makes a disk file, tagged by write 0
  client.py churn SOCKET STATE SEED  writes, trims and flushes until the server is gone; STATE says what may be there
  client.py check SOCKET STATE       compares, and takes what is there as what must be there from now on

The volume is larger than the disk file; what it has behind it reads as zeroes at first, and a part of that is used, too.
"""

import json
import os
import random
import socket
import struct
import sys

SECTOR, GRANULE = 512, 8
READ, WRITE, FLUSH, TRIM, ZEROES = 0, 1, 3, 4, 6
FUA = 1
IN_FLIGHT = 16
BASE = (24 << 20) // SECTOR
USED = (32 << 20) // SECTOR


def number(count, kind):
    """Names a write: above 0 has a tag, below reads as zeroes."""
    return {WRITE: 2 * count, ZEROES: -2 * count, TRIM: -2 * count - 1}[kind]


def is_trim(write):
    return write < 0 and write % 2 == 1


def tag(sector, write):
    if write < 0 or (write == 0 and sector >= BASE):
        return bytes(SECTOR)
    return struct.pack(">QQ", sector, write) * (SECTOR // 16)


class Gone(Exception):
    """The server has ended."""


class Connection:
    """Fixed newstyle, simple replies."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        assert self.take(18) == b"NBDMAGICIHAVEOPT\0\3"
        self.socket.sendall(struct.pack(">I8sIIIH", 3, b"IHAVEOPT", 7, 6, 0, 0))
        while True:
            _, _, kind, length = struct.unpack(">QIII", self.take(20))
            data = self.take(length)
            assert kind in (1, 3), f"the export is refused: {data}"
            if kind == 1:
                break
            if data[:2] == b"\0\0":
                self.sectors = struct.unpack(">Q", data[2:10])[0] // SECTOR

    def take(self, length):
        data = bytearray()
        while len(data) < length:
            try:
                part = self.socket.recv(length - len(data))
            except ConnectionError as cause:
                raise Gone from cause
            if not part:
                raise Gone
            data += part
        return bytes(data)

    def send(self, kind, cookie, sector=0, count=0, data=b"", flags=0):
        head = struct.pack(">IHHQQI", 0x25609513, flags, kind, cookie, sector * SECTOR, count * SECTOR)
        try:
            self.socket.sendall(head + data)
        except ConnectionError as cause:
            raise Gone from cause

    def reply(self):
        magic, error, cookie = struct.unpack(">IIQ", self.take(16))
        assert magic == 0x67446698 and error == 0, f"error {error}"
        return cookie

    def read(self, sector, count):
        self.send(READ, 0, sector, count)
        self.reply()
        return self.take(count * SECTOR)


class Sectors:
    """What each sector may read as. One that is not listed is as the base has it: write 0."""

    def __init__(self, path):
        self.path = path
        self.may, self.last, self.next = {}, {}, 1
        if os.path.exists(path):
            with open(path) as file:
                kept = json.load(file)
            self.may = {int(sector): writes for sector, writes in kept["may"].items()}
            self.next = kept["next"]

    def save(self):
        with open(self.path, "w") as file:
            json.dump({"may": self.may, "next": self.next}, file)

    def writes(self, sector):
        return self.may.setdefault(sector, [0])

    def begin(self, sector, count, write):
        for one in range(sector, sector + count):
            self.writes(one).append(write)

    def answered(self, sector, count, write):
        """From now on a flush covers it."""
        for one in range(sector, sector + count):
            self.last[one] = write

    def covered(self, last):
        """These writes are on stable storage, so that nothing before them can come back. What a trim leaves is the
        old content or zeroes, so it keeps the one before it."""
        for sector, write in last.items():
            may = self.writes(sector)
            if write in may:
                keep = may.index(write) - (1 if is_trim(write) else 0)
                self.may[sector] = may[max(keep, 0):]


def churn(path, state, seed):
    """Two connections, requests in flight on both; the covered ones are known by the answers."""
    rng = random.Random(seed)
    sectors = Sectors(state)
    connections = [Connection(path), Connection(path)]
    # By connection: cookie -> what it was.
    flights = [{}, {}]
    busy = set()
    counts = {"writes": 0, "flushes": 0}
    # A write with FUA brings what is before it to stable storage, too: where there are some, a flush that does nothing
    # is not seen.
    often = 0.1 if seed % 2 else 0
    cookie = 0
    try:
        while True:
            side = rng.randrange(2)
            if len(flights[side]) >= IN_FLIGHT or (flights[side] and rng.random() < 0.3):
                finish(connections[side], flights[side], sectors, busy, counts)
                continue
            cookie += 1
            if rng.random() < 0.03:
                # What was answered on either connection before it is sent.
                flights[side][cookie] = (FLUSH, dict(sectors.last))
                connections[side].send(FLUSH, cookie)
                continue
            sector, count, kind = choose(rng)
            wanted = range(sector, sector + count)
            if any(one in busy for one in wanted):
                continue
            write = number(sectors.next, kind)
            sectors.next += 1
            flags = FUA if rng.random() < often else 0
            sectors.begin(sector, count, write)
            busy.update(wanted)
            flights[side][cookie] = (kind, (sector, count, write, flags))
            data = b"".join(tag(one, write) for one in wanted) if kind == WRITE else b""
            connections[side].send(kind, cookie, sector, count, data, flags)
    except Gone:
        # What was answered but not read yet is not known to be covered.
        sectors.save()
        print(f"{counts['writes']} writes and {counts['flushes']} flushes were answered")


def choose(rng):
    """Some places are written again and again, most writes are not whole granules."""
    span = USED if rng.random() < 0.5 else USED // 64
    kind = rng.choices((WRITE, TRIM, ZEROES), (8, 1, 1))[0]
    count = rng.choice((1, 2, 3, 7, 8, 8, 16, 33, 128))
    sector = rng.randrange(span - count)
    if kind == TRIM:
        # Parts of granules stay: whole ones make the outcome one of two.
        sector, count = sector // GRANULE * GRANULE, (count + GRANULE - 1) // GRANULE * GRANULE
    return sector, count, kind


def finish(connection, flights, sectors, busy, counts):
    kind, what = flights.pop(connection.reply())
    if kind == FLUSH:
        counts["flushes"] += 1
        sectors.covered(what)
        return
    sector, count, write, flags = what
    counts["writes"] += 1
    busy.difference_update(range(sector, sector + count))
    sectors.answered(sector, count, write)
    if flags & FUA:
        sectors.covered({one: write for one in range(sector, sector + count)})


def check(path, state):
    sectors = Sectors(state)
    connection = Connection(path)
    step = 2048
    found = {}
    for start in range(0, USED, step):
        data = connection.read(start, step)
        for sector in range(start, start + step):
            part = data[(sector - start) * SECTOR:][:SECTOR]
            may = sectors.may.get(sector, [0])
            write = next((write for write in may if part == tag(sector, write)), None)
            if write is None:
                sys.exit(f"sector {sector} should hold one of the writes {may}, but holds {part[:32].hex()}…")
            if sector in sectors.may:
                found[sector] = [write]
    sectors.may = found
    sectors.save()
    print(f"{USED} sectors, {len(found)} of them written to: each holds what it may")


def base(path):
    with open(path, "wb") as file:
        file.write(b"".join(tag(sector, 0) for sector in range(BASE)))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["base", path]:
            base(path)
        case ["churn", path, state, seed]:
            churn(path, state, int(seed))
        case ["check", path, state]:
            check(path, state)
        case _:
            sys.exit(__doc__)
