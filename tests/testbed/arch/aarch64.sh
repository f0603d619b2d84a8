# The nested machine on aarch64: QEMU's TCG emulates a CPU with EL2, which the
# kernel's built-in KVM uses in its VHE form.
# shellcheck shell=bash disable=SC2034,SC2100  # read by machine.sh and nested.sh

deb_arch=arm64
qemu=qemu-system-aarch64
qemu_package=qemu-system-arm
kernel_package=linux-image-arm64
console=ttyAMA0
kvm_modules=""
own_module=
kernel_form=as-is
# Pointer authentication costs emulated code dearly and shows nothing here.
one_core=
machine_options=(-machine "virt,virtualization=on,gic-version=3" -cpu "max,pauth=off")
kernel_arguments=""
