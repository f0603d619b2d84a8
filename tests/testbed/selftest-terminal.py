"""Runs the testbed on a terminal of 33 by 101: its size arrives, a line comes
back once (echoed by the inner terminal, not by both), Ctrl-C interrupts the
command inside, and the outer terminal's settings are as before."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

INSIDE = """trap 'echo interrupted; exit 5' INT
test -t 0 && test -t 1 && test -t 2 && echo size $(stty size)
read word; echo got $word; echo ready; while :; do sleep 1; done"""

seen = b""


def wait_for(master, wanted):
    """Reads until `wanted` has come; a minute's silence is a failure."""
    global seen
    while wanted not in seen:
        ready, _, _ = select.select([master], [], [], 120)
        if not ready:
            sys.exit(f"no {wanted!r} within 120 s; seen: {seen!r}")
        try:
            seen += os.read(master, 65536)
        except OSError:
            sys.exit(f"ended before {wanted!r}; seen: {seen!r}")


master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.login_tty(slave) if hasattr(os, "login_tty") else (
        os.setsid(), fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        [os.dup2(slave, n) for n in range(3)])
    os.execvp(sys.argv[1], sys.argv[1:] + ["--", "bash", "-c", INSIDE])
wait_for(master, b"size 33 101")
os.write(master, b"hello\r")
wait_for(master, b"got hello")
wait_for(master, b"ready")
os.write(master, b"\x03")
wait_for(master, b"interrupted")
deadline = time.monotonic() + 120
while True:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        break
    if time.monotonic() > deadline:
        sys.exit("does not end")
    ready, _, _ = select.select([master], [], [], 0.1)
    if ready:
        seen += os.read(master, 65536)
after = termios.tcgetattr(slave)
print(seen)
if os.waitstatus_to_exitcode(status) != 5:
    sys.exit(f"status {os.waitstatus_to_exitcode(status)}, not 5")
if seen.count(b"hello") != 2:
    sys.exit("the line was not echoed exactly once")
if before != after:
    sys.exit("the terminal's settings were not restored")
