"""The user-mode network by itself, with no machine: what network-bench (tests/bench/network) measures of our link and of
QEMU's user network, in turn. passt would be a third, by `passt --socket`; it is told as missing."""

import json
import shutil
import subprocess

import programs
from launch import Failed, summary

# The least that QEMU's figures may be multiplied by.
LEAST = 2
MIB = 2**20


def measured(command):
    try:
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as cause:
        raise Failed(f"{command[0]} cannot be started: {cause.strerror}") from cause
    if ran.returncode != 0:
        raise Failed(f"{' '.join(command)}\nended with status {ran.returncode}; it said:\n{ran.stderr}")
    return json.loads(ran.stdout)


def measure(table, program, record):
    commands = {"ami-run": [program, "link"], "qemu user": [program, "qemu", programs.QEMU]}
    results = {name: measured(command) for name, command in commands.items()}
    record["network"] = {"commands": commands, "results": results}
    ours, theirs = results["ami-run"], results["qemu user"]
    for row, key, unit, scale in (
        ("TCP from the guest", "to_host_bytes_per_second", "MiB/s", MIB),
        ("TCP to the guest", "to_guest_bytes_per_second", "MiB/s", MIB),
        ("TCP connections", "connections_per_second", "/s", 1),
    ):
        both = [[sample / scale for sample in result[key]] for result in (ours, theirs)]
        table.rates(row, both[0], unit, "qemu user", both[1], LEAST)
    latency = [summary(us / 1000 for us in result["latency_us"]) for result in (ours, theirs)]
    table.against("TCP request and response", latency[0], "µs", "qemu user", latency[1])
    kib = "kib_per_1000_flows"
    table.against("memory of 1,000 flows", ours[kib], "KiB", "qemu user", max(theirs[kib], 1))
    table.told("longest segment to the guest", ours["longest_to_guest"], "bytes")
    if not shutil.which("passt"):
        record["missing"].append("network: passt is not installed")
    else:
        record["missing"].append("network: passt is installed, but there is no measure of it yet")
