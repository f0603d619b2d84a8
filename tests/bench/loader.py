"""A boot loader of one sector for either firmware: a boot sector, and a UEFI program in an EFI system partition. Its
first instructions say a word on the serial port, the next ones halt: when the word is read, the firmware has loaded
and started the first block of what it boots, and nothing more happens."""

import os
import struct
import subprocess

from launch import Failed

SECTOR = 512
DISK_MIB, ESP_START_MIB, ESP_MIB = 18, 1, 16
WORD = b"####"  # no letter of it is in what either firmware says itself
SAY = (b"\xb0" + WORD[:1]) + b"\xee" * len(WORD)  # mov al, '#'; out dx, al, four times
HALT = bytes.fromhex("fa f4 eb fd")  # cli; hlt; jmp to the hlt
REAL_MODE = bytes.fromhex("ba f8 03") + SAY + HALT  # mov dx, 0x3f8: COM1
LONG_MODE = bytes.fromhex("66 ba f8 03") + SAY + HALT  # the same in 64 bits
# PATH of users may lack where partitioning tools are.
TOOLS = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}

# Microsoft's PE format: an image of one section, which holds no address and so needs no relocation.
HEADERS_AT, ENTRY, IMAGE_SIZE = 0x40, 0x1000, 0x2000
X86_64, EXECUTABLE_AND_LARGE, PE32_PLUS, EFI_APPLICATION = 0x8664, 0x22, 0x20B, 10
CODE_READ_EXECUTE = 0x60000020
DIRECTORIES = 16


def efi_program():
    directories = bytes(8 * DIRECTORIES)
    optional = struct.pack("<HxxIIIII", PE32_PLUS, SECTOR, 0, 0, ENTRY, ENTRY)
    optional += struct.pack("<QII12xxxxx", 0, ENTRY, SECTOR)
    optional += struct.pack("<IIIHH32xII", IMAGE_SIZE, SECTOR, 0, EFI_APPLICATION, 0, 0, DIRECTORIES) + directories
    file_header = struct.pack("<HHIIIHH", X86_64, 1, 0, 0, 0, len(optional), EXECUTABLE_AND_LARGE)
    section = struct.pack("<8sIIII12xI", b".text", SECTOR, ENTRY, SECTOR, SECTOR, CODE_READ_EXECUTE)
    dos_header = b"MZ".ljust(HEADERS_AT - 4, b"\0") + struct.pack("<I", HEADERS_AT)
    headers = dos_header + b"PE\0\0" + file_header + optional + section
    return headers.ljust(SECTOR, b"\0") + LONG_MODE.ljust(SECTOR, b"\0")


def tool(*command):
    try:
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=TOOLS, check=False)
    except OSError as cause:
        raise Failed(f"{command[0]} cannot be started: {cause.strerror}") from cause
    if ran.returncode != 0:
        raise Failed(f"{' '.join(command)}\nended with status {ran.returncode}:\n{ran.stdout}{ran.stderr}")


def write_disk(disk):
    """A GPT with one partition, as an image has it; the boot sector's code stands before the protective entry."""
    program, start = f"{disk}.efi", ESP_START_MIB << 20
    with open(program, "wb") as file:
        file.write(efi_program())
    with open(disk, "wb") as file:
        file.truncate(DISK_MIB << 20)
    sectors = f"1:{start // SECTOR}:{(start + (ESP_MIB << 20)) // SECTOR - 1}"
    tool("sgdisk", "--new", sectors, "--typecode", "1:ef00", disk)
    tool("mkfs.vfat", "-F", "16", f"--offset={start // SECTOR}", disk, str(ESP_MIB << 10))
    partition = ("-i", f"{disk}@@{start}")
    tool("mmd", *partition, "::EFI", "::EFI/BOOT")
    tool("mcopy", *partition, program, "::EFI/BOOT/BOOTX64.EFI")
    os.unlink(program)
    with open(disk, "r+b") as file:
        file.write(REAL_MODE)
