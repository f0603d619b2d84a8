"""Twenty tiny instances at once: how long each verb takes, and whether processes, memory and descriptors are linear.

Their guest halts: it costs no CPU, and does not listen to its power button, so that `stop` ends it at once."""

import glob
import os
import signal
import stat
import time

import memory
import rom
from launch import Failed, summary
from volumes import output

COUNT = 20
SAMPLED_AT = (1, 5, 10, COUNT)
BOUND_S = 60
# What each of several may take of what one alone does.
MOST = {"processes": 1, "memory outside guest RAM": 1.1, "descriptors": 1}


def processes(state):
    """Those whose command line names the state folder, as those of detached instances do."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.fsencode(state) in words:
            found.append(int(path.split("/")[2]))
    return found


def folders(state):
    return glob.glob(os.path.join(state, "instances", "i-*"))


def sockets(state):
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(state) for name in names]
    return [path for path in paths if stat.S_ISSOCK(os.lstat(path).st_mode)]


def expect(what, found, count):
    if len(found) != count:
        raise Failed(f"{what}: {len(found)} and not {count}: {found}")


def until(what, is_so):
    end = time.monotonic() + BOUND_S
    while not is_so():
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {BOUND_S} s")
        time.sleep(0.02)


def has_said(folder):
    try:
        with open(os.path.join(folder, "console.log"), "rb") as log:
            return log.read() == rom.BYTE
    except FileNotFoundError:
        return False


def sample(state, count):
    """What each of so many running instances takes."""
    pids = processes(state)
    for what, found in (("processes", pids), ("folders", folders(state)), ("sockets", sockets(state))):
        expect(f"{what} of {count} instances", found, count)
    until("all guests have begun", lambda: all(map(has_said, folders(state))))
    total = {
        "processes": len(pids),
        "memory outside guest RAM": sum(sum(parts.values()) for parts in memory.settled(*pids)),
        "descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
    }
    return {what: number / count for what, number in total.items()}


class Fleet:
    """The instances of one state folder, and the seconds that each step took."""

    def __init__(self, command, state):
        self.command, self.state, self.ids, self.seconds = command, state, [], {}

    def timed(self, step, *words):
        begin = time.monotonic()
        said = output(words)
        self.seconds[step] = time.monotonic() - begin
        return said

    def launch(self, step, count=1):
        self.ids += self.timed(step, *self.command, "-d", "--count", str(count)).split()

    def verb(self, step, *words):
        return self.timed(step, self.command[0], *words)

    def list(self):
        listed = self.verb("list", "ls").splitlines()
        expect("listed instances", [line for line in listed if line.startswith("i-")], len(self.ids))

    def stop(self):
        self.verb("stop", "stop", *self.ids)
        self.have_ended()
        expect("folders of stopped instances", folders(self.state), len(self.ids))

    def terminate(self, step):
        """Without prune they would be listed for an hour."""
        self.verb(step, "terminate", *self.ids)
        self.have_ended()
        expect("sockets of terminated instances", sockets(self.state), 0)
        self.verb("prune", "prune")
        expect("folders of pruned instances", folders(self.state), 0)
        self.ids = []

    def have_ended(self):
        until("all processes have ended", lambda: not processes(self.state))


def one_by_one(fleet):
    """Returns the samples, by how many instances there are."""
    samples = {}
    for number in range(1, COUNT + 1):
        fleet.launch(number)
        if number in SAMPLED_AT:
            samples[number] = sample(fleet.state, number)
    fleet.list()
    fleet.stop()
    fleet.terminate("terminate, stopped")
    return samples


def together(fleet):
    fleet.launch("--count", COUNT)
    sample(fleet.state, COUNT)
    fleet.terminate("terminate, running")


def rows(table, samples, seconds):
    for what, most in MOST.items():
        unit, alone = "KiB" if what.startswith("memory") else "", samples[1][what]
        for count in SAMPLED_AT[1:]:
            row = f"{count} instances: {what} of each"
            table.against(row, samples[count][what], unit, "1 instance", alone, most)
    launches = [seconds[number] for number in range(1, COUNT + 1)]
    first, last = summary(launches[:5]), summary(launches[-5:])
    table.against(f"launch -d: the last 5 of {COUNT}", last, "ms", "the first 5", first)
    by_count, one = 1000 * seconds["--count"], 1000 * sum(launches)
    table.against(f"launch -d --count {COUNT}", by_count, "ms", f"{COUNT} times launch -d", one)
    for step in ("list", "stop", "terminate, stopped", "terminate, running", "prune"):
        table.told(f"{COUNT} instances: {step}", 1000 * seconds[step], "ms")


def measure(table, command, record):
    """Of instances that `command` launches, in the state folder that is set."""
    state = os.environ["AMI_RUN_STATE_DIR"]
    fleet = Fleet(command, state)
    try:
        samples = one_by_one(fleet)
        together(fleet)
    finally:
        for pid in processes(state):
            os.kill(pid, signal.SIGKILL)
    record["instances"] = {"commands": {"ami-run": command}, "samples": samples, "seconds": fleet.seconds}
    rows(table, samples, fleet.seconds)
