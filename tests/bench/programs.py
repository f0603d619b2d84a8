"""The command lines: ami-run's, and those of its peer with the same devices.

ami-run has an NVMe disk, a network card in a user-mode network with the metadata service, a serial port and the
chipset, so that is what QEMU gets (it has no metadata service): what the guest writes to the disk
is private and goes with it (snapshot=on, as --rm), and of the devices that -M pc adds by itself, what it can leave out
is left out. -M microvm has no PCI: its disk is virtio-blk."""

import json
import os
import shutil

import rom

# By its path, so that no search for it is timed.
QEMU = shutil.which("qemu-system-x86_64") or "qemu-system-x86_64"
TINY_MIB = 128
DEBIAN_CPUS, DEBIAN_MIB = 2, 1024
PC = "pc,hpet=off,vmport=off,smm=off,i8042=off"
NVME = "nvme,serial=vol0123456789abcdef0"
VIRTIO = "virtio-blk-device"
# The card beside each disk; without the ROM that would be loaded to start from the network.
CARDS = {NVME: "virtio-net-pci,romfile=", VIRTIO: "virtio-net-device"}
# The same files for both; each variable store begins as a copy of the template.
SEABIOS = "/usr/share/seabios/bios-256k.bin"
OVMF, OVMF_VARIABLES = (f"/usr/share/OVMF/OVMF_{part}_4M.fd" for part in ("CODE", "VARS"))
SNAPSHOT = "snap-0123456789abcdef0"


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


class Tiny:
    """The tiny guests: an image with one volume, and a firmware that ends it or halts it. Files are in `folder`."""

    def __init__(self, folder, program):
        self.program = program
        self.image, self.disk, self.ends, self.halts = (
            os.path.join(folder, name) for name in ("image.json", f"{SNAPSHOT}.raw", "ends.rom", "halts.rom")
        )
        write(self.ends, rom.that_ends())
        write(self.halts, rom.that_halts())
        write(self.image, json.dumps(description()).encode())
        write(self.disk, b"")
        os.truncate(self.disk, 1 << 30)

    def ami_run(self, firmware, emulated, *more):
        options = ["--cpus", "1", "--memory", str(TINY_MIB), "--firmware", firmware]
        return [self.program, self.image, *options, *(["--force"] if emulated else []), *more]

    def qemu(self, machine, device, firmware, access="snapshot=on"):
        end = ["-bios", firmware, "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        return qemu(machine, f"{self.disk},{access}", device, 1, TINY_MIB) + end


def description():
    """What DescribeImages would say of it: made for Nitro, so its volume is NVMe."""
    volume = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": SNAPSHOT}}
    return {
        "ImageId": "ami-0123456789abcdef0",
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "BootMode": "legacy-bios",
        "EnaSupport": True,
        "RootDeviceName": "/dev/xvda",
        "RootDeviceType": "ebs",
        "BlockDeviceMappings": [volume],
    }


def qemu(machine, disk, device, cpus, mib):
    return [
        *[QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"],
        *["-M", machine, "-accel", "kvm", "-cpu", "host", "-smp", str(cpus), "-m", str(mib)],
        *["-drive", f"if=none,id=root,format=raw,file={disk}", "-device", f"{device},drive=root,id=root-disk"],
        *["-netdev", "user,id=net", "-device", f"{CARDS[device]},netdev=net"],
    ]


def debian_ami_run(program, image):
    options = ["--cpus", str(DEBIAN_CPUS), "--memory", str(DEBIAN_MIB), "--disk-interface", "nvme", "--rm"]
    return [program, image, *options]


def debian_qemu(disk):
    return qemu(PC, f"{disk},snapshot=on", NVME, DEBIAN_CPUS, DEBIAN_MIB)


def loader_commands(program, disk):
    """The loader's disk, by each firmware and each program. As ami-run does, QEMU tells SeaBIOS that there is no screen,
    so that it writes to the serial port, and either firmware which device to start from."""
    firmware = {"SeaBIOS": ("legacy-bios", SEABIOS), "OVMF": ("uefi", OVMF)}
    flash = ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF}"]
    flash += ["-drive", f"if=pflash,unit=1,format=raw,snapshot=on,file={OVMF_VARIABLES}"]
    theirs = {"SeaBIOS": ["-bios", SEABIOS], "OVMF": flash}
    size = ["--cpus", str(DEBIAN_CPUS), "--memory", str(DEBIAN_MIB)]
    commands = {}
    for name, (mode, file) in firmware.items():
        how = ["--boot-mode", mode, "--firmware", file, "--disk-interface", "nvme", "--rm"]
        machine = qemu(f"{PC},graphics=off", f"{disk},snapshot=on", NVME, DEBIAN_CPUS, DEBIAN_MIB)
        first = ["-set", "device.root-disk.bootindex=0"]
        commands[name] = {"ami-run": [program, disk, *size, *how], "qemu -M pc": [*machine, *first, *theirs[name]]}
    return commands
