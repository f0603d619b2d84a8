# The nested machine on x86_64: QEMU's TCG emulates AMD's virtualisation (SVM
# with nested paging), which kvm-amd then uses as it would use a real one.
# shellcheck shell=bash disable=SC2034,SC2100  # read by machine.sh and nested.sh

deb_arch=amd64
qemu=qemu-system-x86_64
qemu_package=qemu-system-x86
kernel_package=linux-image-amd64
console=ttyS0
kvm_modules="irqbypass kvm-amd"
# Ours, loaded after those: its head says what for.
own_module=keep-cr8
# The kernel as ELF, started by qboot through its PVH entry: no decompression
# by emulated code and no SeaBIOS, which saves 4 of 6 seconds.
kernel_form=elf
machine_options=(-machine "pc,vmport=off" -cpu max -bios qboot.rom)
# Threads on one core cannot collide in the interrupt flags that QEMU's emulation
# of SVM changes without a lock. Where they did, a #VMEXIT was repeated for ever,
# or the nested machine's kernel met exceptions that nobody had raised.
one_core=1
# The emulated TSC is the host's and in step on all CPUs, but lacks the flag
# that says so; without it the clock is a slow emulated HPET. Should a CPU be
# lost all the same, the other one notices and ends the machine.
kernel_arguments="tsc=reliable softlockup_panic=1 watchdog_thresh=30"
# How fast it counts is told: the head of tsc.py says why. Another architecture's host has no such counter.
if [[ $(uname -m) == x86_64 ]]; then
    command -v python3 >/dev/null || "$testbed/../lib/need" python3
    kernel_arguments+=" tsc_early_khz=$(python3 "$testbed/tsc.py")"
fi
