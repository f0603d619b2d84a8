"""Prints how many thousand times a second this CPU's time stamp counter counts.

QEMU without KVM gives its guests the host's counter as it is. Their kernels count it against emulated timers, and are
wrong by any factor where others use this host's CPUs: the clock of the nested machine then ran up to three times
too fast, and every time-out in it ended too soon. So they are told."""

import ctypes
import mmap
import time

# rdtsc; shl rdx, 32; or rax, rdx; ret
CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")

page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(CODE)
count = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))


def both():
    """A time and the count then: of many, the pair between which the least else happened."""
    pairs = []
    for _ in range(200):
        before = time.monotonic_ns()
        counted = count()
        after = time.monotonic_ns()
        pairs.append((after - before, before, counted))
    return min(pairs)[1:]


start, from_count = both()
time.sleep(0.1)
end, to_count = both()
print(round((to_count - from_count) * 1_000_000 / (end - start)))
