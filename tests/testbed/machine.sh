# What the nested machine is started from: a kernel and an initramfs, made from
# the distribution's packages once and kept in the cache.
# shellcheck shell=bash disable=SC2154  # run and arch/*.sh set the variables

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ami-run-test
boot_modules="virtio_pci 9pnet_virtio 9p overlay virtio_console"
more_modules="virtio_blk ext4 xfs loop dm-log-writes tun dummy veth"
applets="sh cat chroot echo ifconfig insmod ln mkdir mkfifo mount poweroff ps sed setsid sleep sync usleep"

# find_machine ARCH: sets `machine` to a folder with `kernel` and `initramfs`.
find_machine() {
    local recipe
    recipe=$(cd "$testbed" && cat machine.sh init keep-cr8.c "arch/$1.sh" | sha256sum | cut -c 1-16)
    machine=$cache/testbed/machine-$1-$recipe
    [[ ! -e $machine ]] || return 0
    mkdir -p "$cache/testbed"
    exec 8>"$cache/testbed/machine.lock"
    flock -n 8 || {
        say "waiting for another run to make the nested machine's kernel and initramfs"
        flock 8
    }
    if [[ ! -e $machine ]]; then
        "$testbed/../lib/need" cpio kmod xz-utils zstd
        say "making the nested machine's kernel and initramfs (once, about 30 s)"
        rm -rf "$machine.new"
        mkdir -p "$machine.new"
        (cd "$machine.new" && make_machine)
        mv "$machine.new" "$machine"
    fi
    exec 8>&-
}

# In the folder that becomes the cache entry.
make_machine() {
    local real_kernel version
    "$testbed/../lib/need" --download debs --arch "$deb_arch" "$kernel_package" busybox-static
    real_kernel=$(dpkg-deb -f debs/"$kernel_package"_*.deb Depends | sed 's/ .*//')
    "$testbed/../lib/need" --download debs --arch "$deb_arch" "$real_kernel"
    mkdir tree
    dpkg-deb -x debs/"$real_kernel"_*.deb tree
    dpkg-deb -x debs/busybox-static_*.deb tree
    version=${real_kernel#linux-image-}
    take_kernel "tree/boot/vmlinuz-$version"
    if [[ $own_module ]]; then build_module "$version"; fi
    make_initramfs "$version"
    dpkg-deb -f debs/"$real_kernel"_*.deb Package Version >version
    rm -rf debs tree initramfs.tree module
}

# take_kernel FILE: as it is or, where the firmware takes ELF, unpacked. The
# payload's place is in the setup header (Documentation/x86/boot.rst).
take_kernel() {
    local file=$1 setup_sectors offset length
    if [[ $kernel_form != elf ]]; then
        cp "$file" kernel
        return
    fi
    setup_sectors=$(number_at "$file" 0x1f1 1)
    offset=$((512 * (setup_sectors + 1) + $(number_at "$file" 0x248 4)))
    length=$(number_at "$file" 0x24c 4)
    # The payload's last four bytes are its unpacked size.
    head -c $((offset + length - 4)) "$file" | tail -c +$((offset + 1)) >payload
    if ! xz -dc <payload >kernel 2>/dev/null && ! zstd -dcq <payload >kernel 2>/dev/null; then
        fail "cannot unpack the kernel $file: neither xz nor zstd"
    fi
    rm payload
}

# build_module VERSION: module/$own_module.ko, by the kernel's headers and the compiler that they name, all unpacked
# where they are. Their programs run only on the kernel's own architecture.
build_module() {
    local headers=linux-headers-$1 more package kbuild
    if [[ $arch != "$(uname -m)" ]]; then
        say "$own_module.ko is left out, since it can be built only on $arch: see tests/testbed/README.md"
        return
    fi
    "$testbed/../lib/need" --download debs --arch "$deb_arch" "$headers"
    more=$(dpkg-deb -f debs/"$headers"_*.deb Depends | grep -oE 'linux-(headers|kbuild)-[^ ,]+')
    # shellcheck disable=SC2086  # two names
    "$testbed/../lib/need" --download debs --arch "$deb_arch" $more
    for package in $headers $more; do dpkg-deb -x debs/"$package"_*.deb tree; done
    kbuild=$PWD/tree/usr/src/$headers
    sed -i "s|^include /usr/src/|include $PWD/tree/usr/src/|" "$kbuild/Makefile"
    "$testbed/../lib/need" make "$(grep -oE 'gcc-[0-9]+' "$kbuild/.kernelvariables")" "libelf1|libelf1t64"
    mkdir module
    cp "$testbed/$own_module.c" module/
    echo "obj-m := $own_module.o" >module/Kbuild
    if ! env -u MAKEFLAGS -u MAKELEVEL make -C "$kbuild" M="$PWD/module" modules >module.log 2>&1; then
        tail -n 20 module.log >&2
        fail "cannot build $own_module.ko"
    fi
    rm module.log
}

number_at() { od -A n -j "$2" -N "$3" -t "u$3" "$1" | tr -d ' '; }

make_initramfs() {
    local version=$1 applet
    mkdir -p initramfs.tree/{bin,modules,proc,sys,dev,in,lower,top,root,host}
    cp tree/bin/busybox initramfs.tree/bin/ 2>/dev/null || cp tree/usr/bin/busybox initramfs.tree/bin/
    for applet in $applets; do ln -s busybox "initramfs.tree/bin/$applet"; done
    install -m 755 "$testbed/init" initramfs.tree/init
    [[ -d tree/lib/modules ]] || ln -s usr/lib tree/lib
    /sbin/depmod -b "$PWD/tree" "$version"
    # shellcheck disable=SC2086  # lists
    {
        add_modules "$version" boot $boot_modules
        add_modules "$version" kvm $kvm_modules
        add_modules "$version" more $more_modules
    }
    if [[ -e module ]]; then
        cp "module/$own_module.ko" initramfs.tree/modules/
        echo "$own_module.ko" >>initramfs.tree/modules/kvm
    fi
    (cd initramfs.tree && find . | cpio -o -H newc -R 0:0 --quiet) >initramfs
}

# add_modules VERSION LIST MODULE...: copies them with what they depend on, and
# writes their names to LIST in the order of loading.
add_modules() {
    local version=$1 list=$2 module path name
    shift 2
    for module in "$@"; do
        /sbin/modprobe -d "$PWD/tree" -S "$version" --show-depends "$module"
    done | awk '$1 == "insmod" {print $2}' | while read -r path; do
        name=$(basename "$path")
        name=${name%%.ko*}.ko
        [[ ! -e initramfs.tree/modules/$name ]] || continue
        case $path in
        *.xz) xz -dc "$path" >"initramfs.tree/modules/$name" ;;
        *.zst) zstd -dcq "$path" >"initramfs.tree/modules/$name" ;;
        *) cp "$path" "initramfs.tree/modules/$name" ;;
        esac
        echo "$name"
    done >"initramfs.tree/modules/$list"
}
