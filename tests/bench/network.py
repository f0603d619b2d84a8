"""The user-mode network by itself, with no machine: what network-bench (tests/bench/network) measures of our link, of
QEMU's user network and of passt, in turn. A peer that stalls is told and left out of what it stalled in."""

import json
import os
import shutil
import signal
import subprocess

import programs
from launch import Failed, summary

# The least that QEMU's figures may be multiplied by.
LEAST = 2
MIB = 2**20
# network-bench takes some 10 s, and gives up by itself after 60 s, or 20 s without news.
BOUND_S = 120
STALLED = 3
PASST = "passt"


class Stalled(Failed):
    """Nothing more came of it."""


def measured(command):
    try:
        # With a group of its own: the peer that it has started is to go with it.
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as run:
            try:
                output, error = run.communicate(timeout=BOUND_S)
            except subprocess.TimeoutExpired as cause:
                os.killpg(run.pid, signal.SIGKILL)
                raise Stalled(f"{' '.join(command)}: no end within {BOUND_S} s") from cause
    except OSError as cause:
        raise Failed(f"{command[0]} cannot be started: {cause.strerror}") from cause
    if run.returncode == STALLED:
        raise Stalled(f"{' '.join(command)}: {error.strip().splitlines()[-1]}")
    if run.returncode != 0:
        raise Failed(f"{' '.join(command)}\nended with status {run.returncode}; it said:\n{error}")
    return json.loads(output)


def rows(table, ours, peer, theirs, least):
    """Gives what the peer stalled in."""
    stalls = []
    for row, key, unit, scale in (
        ("TCP from the guest", "to_host_bytes_per_second", "MiB/s", MIB),
        ("TCP to the guest", "to_guest_bytes_per_second", "MiB/s", MIB),
        ("TCP connections", "connections_per_second", "/s", 1),
    ):
        both = [[sample / scale for sample in result[key]] for result in (ours, theirs)]
        if 0 in both[1]:
            stalls.append(f"{row}: nothing came in {both[1].count(0)} of {len(both[1])} slices of time")
        else:
            table.rates(row, both[0], unit, peer, both[1], least)
    latency = [summary(us / 1000 for us in result["latency_us"]) for result in (ours, theirs)]
    table.against("TCP request and response", latency[0], "µs", peer, latency[1])
    kib = "kib_per_1000_flows"
    table.against("memory of 1,000 flows", ours[kib], "KiB", peer, max(theirs[kib], 1))
    return stalls


def measure(table, program, record):
    commands = {"ami-run": [program, "link"], "qemu user": [program, "qemu", programs.QEMU]}
    passt = shutil.which(PASST)
    if passt:
        commands[PASST] = [program, PASST, passt]
    else:
        record["missing"].append("network: passt is not installed")
    ours = measured(commands["ami-run"])
    record["network"] = {"commands": commands, "results": {"ami-run": ours}}
    for peer, least in (("qemu user", LEAST), (PASST, None)):
        if peer not in commands:
            continue
        try:
            theirs = measured(commands[peer])
        except Stalled as cause:
            record["missing"].append(f"network: {peer} stalled: {cause}")
            continue
        record["network"]["results"][peer] = theirs
        stalls = rows(table, ours, peer, theirs, least)
        record["missing"] += [f"network: {peer} stalled: {stall}" for stall in stalls]
    table.told("longest segment to the guest", ours["longest_to_guest"], "bytes")
