"""The two BIOSes of the benchmark: they say one byte on the serial port with their first instructions. One then
ends the machine, the other halts.

As large as SeaBIOS, so that a launch reads, copies and maps what it does with the real one."""

SIZE = 0x40000
# The CPU begins 16 bytes below 4 GiB, in the last 16 bytes of the image; the far jump leads to the same image below
# 1 MiB, as SeaBIOS's does.
RESET_VECTOR = 0x3FFF0
CODE = 0x3FF00
BYTE = b"!"

JUMP = bytes.fromhex("ea 00 ff 00 f0")  # jmp 0xf000:0xff00
SAY = bytes.fromhex(
    "ba f8 03"  # mov dx, 0x3f8    the data register of COM1
    "b0 21"  #    mov al, '!'
    "ee"  #       out dx, al
)
END = bytes.fromhex(
    "ba 04 06"  # mov dx, 0x604    PM1_CNT of ami-run's board; nothing in QEMU's before its firmware has set it up
    "b8 00 20"  # mov ax, 1 << 13  SLP_EN with SLP_TYP 0: S5
    "ef"  #       out dx, ax
    "ba f4 00"  # mov dx, 0xf4     QEMU's isa-debug-exit; nothing on ami-run's board
    "ee"  #       out dx, al
)
HALT = bytes.fromhex(
    "fa"  #    cli
    "f4"  #    hlt
    "eb fd"  # jmp to the hlt
)
# What QEMU exits with after isa-debug-exit was written 0.
QEMU_STATUS = 1


def image(code):
    rom = bytearray(SIZE)
    rom[CODE : CODE + len(code)] = code
    rom[RESET_VECTOR : RESET_VECTOR + len(JUMP)] = JUMP
    return bytes(rom)


def that_ends():
    return image(SAY + END + HALT)


def that_halts():
    return image(SAY + HALT)
