//! Settings as the loaders of Ubuntu, Arch, Fedora and Alpine have them, and some that nobody has.

use super::*;

fn place() -> Place {
    Place::path(1, "/boot/grub/grub.cfg")
}

fn texts(entries: &[Entry]) -> Vec<(&str, &str, bool)> {
    entries.iter().map(|entry| (entry.kernel.as_str(), entry.line.text.as_str(), entry.line.rescue)).collect()
}

/// Lines as update-grub writes them on Ubuntu's cloud images.
#[test]
fn grub_s_entries_are_taken_with_plain_variables() {
    let text = "set default=\"0\"\nif [ x ]; then set linux_gfx_mode=auto; fi\nset extra='console=ttyS0 a=b'\n\
                menuentry 'Ubuntu' --class ubuntu {\n\tlinux\t/boot/vmlinuz-6.8 root=PARTUUID=1 ro ${extra} $unset \
                quiet$nothing_there\n\tinitrd\t($drive1)/boot/microcode.cpio /boot/initrd.img-6.8\n}\n\
                menuentry 'Ubuntu (recovery mode)' {\n\tlinux (hd0,1)/boot/vmlinuz-6.8 root=PARTUUID=1\n}\n\
                menuentry 'Memory test' {\n\tlinux16 /boot/memtest86+.bin\n}\n# linux /boot/no\nlinux\n";
    let found = of_grub(text, &place(), &mut Variables::new());
    assert_eq!(
        texts(&found),
        [
            ("/boot/vmlinuz-6.8", "root=PARTUUID=1 ro console=ttyS0 a=b  quiet", false),
            ("/boot/vmlinuz-6.8", "root=PARTUUID=1", true),
        ]
    );
    assert_eq!(found[0].initrds, ["/boot/microcode.cpio", "/boot/initrd.img-6.8"]);
}

#[test]
fn an_entry_of_the_boot_loader_specification_may_have_several_options() {
    let text = "title   Arch\nlinux\t/vmlinuz-linux\ninitrd  /intel-ucode.img\ninitrd /initramfs-linux.img\n\
                options root=UUID=1 rw\noptions console=ttyS0\n#options no\nversion 6\n";
    let entry = of_bls(text, &Place::path(2, "/loader/entries/arch.conf"), &Variables::new()).unwrap();
    assert_eq!(
        texts(std::slice::from_ref(&entry)),
        [("/vmlinuz-linux", "root=UUID=1 rw console=ttyS0", false)]
    );
    assert_eq!(entry.initrds, ["/intel-ucode.img", "/initramfs-linux.img"]);
    let rescue = Place::path(2, "/loader/entries/0-rescue.conf");
    assert!(of_bls(text, &rescue, &Variables::new()).unwrap().line.rescue);
    assert_eq!(of_bls("title x\noptions y\n", &place(), &Variables::new()), None);
}

/// Lines as Alpine's update-extlinux writes them.
#[test]
fn extlinux_names_the_initrd_apart_or_in_the_command_line() {
    let text = "DEFAULT menu.c32\nLABEL virt\n  MENU LABEL Linux virt\n  LINUX vmlinuz-virt\n  INITRD initramfs-virt\n  \
                APPEND root=UUID=1 console=ttyS0,115200n8\nlabel old\n kernel /vmlinuz\n append initrd=/a.img,/b.img quiet\n";
    let found = of_extlinux(text, &place());
    assert_eq!(
        texts(&found),
        [
            ("vmlinuz-virt", "root=UUID=1 console=ttyS0,115200n8", false),
            ("/vmlinuz", "initrd=/a.img,/b.img quiet", false),
        ]
    );
    assert_eq!(found[0].initrds, ["initramfs-virt"]);
    assert_eq!(found[1].initrds, ["/a.img", "/b.img"]);
}

#[test]
fn variables_are_replaced_once() {
    let mut variables = Variables::new();
    variables.extend(assignment("a=$a$a$a"));
    assert_eq!(expand("x $a ${a}y ${open $", &variables), "x $a$a$a $a$a$ay {open ");
    assert_eq!(assignment("not a name=1"), None);
    assert_eq!(assignment("=1"), None);
    // Nothing grows without end.
    variables.extend([("b".to_owned(), "z".repeat(100))]);
    assert!(expand(&"$b".repeat(100_000), &variables).len() < 300_000);
}

/// A megabyte of lines that repeat the longest variable there can be.
#[test]
fn settings_do_not_grow_by_what_they_repeat() {
    let long = "x".repeat(MAX_LINE);
    let lines = "linux $a $a$a$a\ninitrd $a $a $a\n".repeat(30_000);
    let found = of_grub(&format!("set a={long}\nset b={long}y\n{lines}"), &place(), &mut Variables::new());
    assert_eq!(found.len(), MAX_ENTRIES);
    let kept = |entry: &Entry| entry.kernel.len() + entry.initrds.iter().map(String::len).sum::<usize>();
    assert!(found.iter().map(kept).sum::<usize>() < 64 * 64 * MAX_LINE);
    let one = format!("set b={long}y\nlinux /k $b\n{}", "initrd /a /b\n".repeat(30_000));
    let found = of_grub(&one, &place(), &mut Variables::new());
    assert_eq!((found[0].initrds.len(), found[0].line.text.as_str()), (MAX_INITRDS, ""));
}
