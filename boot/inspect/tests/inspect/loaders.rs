//! Loaders on an EFI system partition: what each is, what it starts in turn, and what is found where that is missing.

use crate::HERE;
use crate::disks::ext::{self, file};
use crate::disks::{
    BIOS_BOOT, ESP, LINUX, SIZE, XBOOTLDR, boot_list, bzimage, fat, fat_of, gpt, part, program, program_of,
    shim, systemd_boot, unified, with_sbat,
};
use crate::skipped;
use ami_run_image::Architecture;
use ami_run_inspect::{
    Claims, Code, Contents, Depth, Finding, LoaderKind, Machine, Role, Severity, lint, look, starts,
};
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

const X64: &str = "EFI/BOOT/BOOTX64.EFI";
const GRUB: &str = "EFI/BOOT/grubx64.efi";
const FALLBACK: &str = "EFI/BOOT/fbx64.efi";
const AMD64: u16 = 0x8664;
const ARM64: u16 = 0xaa64;

/// Each under its path; an image of BootMode uefi.
fn seen(files: &[(&str, &[u8])]) -> Contents {
    of_disk(&gpt(SIZE, vec![part(ESP, 2048, fat(1 << 20, files)), part(LINUX, 5000, vec![0; 1024])]))
}

fn of_disk(disk: &[u8]) -> Contents {
    look(&mut Cursor::new(disk), disk.len() as u64, Depth::System).unwrap()
}

fn claims(boot_mode: Option<&str>) -> Claims {
    let boot_mode = boot_mode.map(str::to_owned);
    Claims { architecture: Some(Architecture::X86_64), boot_mode, ..Claims::default() }
}

fn judged(contents: &Contents) -> Vec<Finding> {
    lint(contents, Some(&claims(Some("uefi"))), HERE)
}

fn codes(files: &[(&str, &[u8])]) -> Vec<(Code, Severity)> {
    judged(&seen(files)).iter().map(|finding| (finding.code, finding.severity)).collect()
}

/// The only finding.
fn only(files: &[(&str, &[u8])]) -> Finding {
    let mut findings = judged(&seen(files));
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.remove(0)
}

#[test]
fn a_loader_is_told_by_its_sections() {
    let mut kernel = program(AMD64);
    kernel.resize(2048, 0);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    let mut signed = program_of(AMD64, &[("mods", b"")]);
    // The size of an optional header that reaches to the certificates, which are directory 4, and theirs.
    signed[0x94] = 240;
    signed[0x98 + 144..0x98 + 152].copy_from_slice(&[0, 4, 0, 0, 8, 0, 0, 0]);
    let named = |text: &'static str| LoaderKind::Other { name: Some(text.to_owned()) };
    let all: [(&str, Vec<u8>, LoaderKind, &str); 11] = [
        ("a.efi", shim(AMD64), LoaderKind::Shim, "shim"),
        ("fbx64.efi", with_sbat(AMD64, "shim"), LoaderKind::ShimFallback, "shim's fallback"),
        ("mmx64.efi", with_sbat(AMD64, "shim"), LoaderKind::MokManager, "MokManager"),
        ("b.efi", program_of(AMD64, &[("mods", b"")]), LoaderKind::Grub, "GRUB"),
        ("c.efi", with_sbat(ARM64, "grub"), LoaderKind::Grub, "GRUB"),
        (
            "d.efi",
            systemd_boot(AMD64),
            LoaderKind::SystemdBoot { version: Some("252.39-1".to_owned()) },
            "systemd-boot 252.39-1",
        ),
        (
            "e.efi",
            unified(&[(".osrel", b"ID=x\nPRETTY_NAME=\"A \x1b system\"\n"), (".linux", b"MZ")]),
            LoaderKind::Unified { name: Some("A  system".to_owned()) },
            "a unified kernel image (A  system)",
        ),
        ("f.efi", kernel, LoaderKind::Linux, "a Linux kernel"),
        ("g.efi", with_sbat(AMD64, "memtest86+"), named("memtest86+"), "memtest86+"),
        (
            "h.efi",
            program_of(AMD64, &[(".sdmagic", b"#### LoaderInfo: systemd-stub 252 ####")]),
            named("systemd-stub"),
            "systemd-stub",
        ),
        ("i.efi", program(AMD64), LoaderKind::Other { name: None }, "an EFI program"),
    ];
    let paths: Vec<String> = all.iter().map(|(name, ..)| format!("EFI/x/{name}")).collect();
    let files: Vec<(&str, &[u8])> =
        paths.iter().zip(&all).map(|(path, (_, bytes, ..))| (path.as_str(), &bytes[..])).collect();
    let contents = seen(&files);
    for (name, bytes, kind, words) in &all {
        let found = contents.loaders.iter().find(|loader| loader.path.ends_with(name)).unwrap();
        assert_eq!((&found.kind, found.kind.to_string().as_str()), (kind, *words), "{name}");
        assert_eq!(found.machine == Machine::Arm64, bytes[0x84] == 0x64 && bytes[0x85] == 0xaa, "{name}");
        assert!(!found.signed, "{name}");
    }
    assert!(seen(&[(X64, &signed)]).loaders[0].signed);
    // Certificates of no size are none, and so are those that the header has no room for.
    for (at, value) in [(0x98 + 148, 0), (0x94, 151)] {
        let mut unsigned = signed.clone();
        unsigned[at] = value;
        assert!(!seen(&[(X64, &unsigned)]).loaders[0].signed, "{at:#x}");
    }
}

#[test]
fn shim_starts_grub_beside_it() {
    let (shim, grub) = (shim(AMD64), program_of(AMD64, &[("mods", b"")]));
    assert_eq!(codes(&[(X64, &shim), (GRUB, &grub)]), []);
    let contents = seen(&[(X64, &shim), (GRUB, &grub)]);
    assert_eq!(starts(&contents, &contents.loaders[0]), Some(&contents.loaders[1]));
    assert_eq!(starts(&contents, &contents.loaders[1]), None);

    let alone = only(&[(X64, &shim), ("EFI/debian/grubx64.efi", &grub)]);
    assert_eq!((alone.code, alone.severity), (Code::ShimStartsNothing, Severity::Error));
    assert_eq!(alone.place.to_string(), "partition 1: /EFI/BOOT/BOOTX64.EFI");
    assert!(alone.reason.contains("grubx64.efi"), "{alone}");

    let other = only(&[(X64, &shim), (GRUB, &program(ARM64))]);
    assert_eq!(other.code, Code::LoaderMachine);
    assert_eq!(other.place.to_string(), "partition 1: /EFI/BOOT/grubx64.efi");
    assert!(other.reason.contains("shim for x86_64 starts it, and it is for arm64"), "{other}");

    // Nobody complains of a shim that BIOS does not come to.
    let contents = seen(&[(X64, &shim)]);
    let by_bios = lint(&contents, Some(&claims(Some("legacy-bios"))), HERE);
    assert!(by_bios.iter().all(|finding| finding.code != Code::ShimStartsNothing), "{by_bios:?}");
}

#[test]
fn shim_s_fallback_starts_what_a_list_names() {
    let (shim, grub) = (shim(AMD64), program_of(AMD64, &[("mods", b"")]));
    let fallback = with_sbat(AMD64, "shim");
    let list = boot_list(&["nothing.efi", "SHIMX64.EFI"]);
    let with = |more: &[(&str, &[u8])]| codes_with(&[(X64, &shim[..]), (FALLBACK, &fallback)], more);
    let debian = [("EFI/debian/shimx64.efi", &shim[..]), ("EFI/debian/grubx64.efi", &grub)];
    let whole = [("EFI/debian/BOOTX64.CSV", &list[..]), debian[0], debian[1]];
    assert_eq!(with(&whole), []);
    let contents = seen(&[&[(X64, &shim[..]), (FALLBACK, &fallback)][..], &whole].concat());
    let next = |path: &str| {
        let loader = contents.loaders.iter().find(|loader| loader.path == path).unwrap();
        starts(&contents, loader).map(|next| next.path.as_str())
    };
    assert_eq!(next("/EFI/BOOT/BOOTX64.EFI"), Some("/EFI/BOOT/fbx64.efi"));
    assert_eq!(next("/EFI/BOOT/fbx64.efi"), Some("/EFI/debian/shimx64.efi"));
    assert_eq!(next("/EFI/debian/shimx64.efi"), Some("/EFI/debian/grubx64.efi"));

    // No list; one for another machine; one in the folder that is passed over.
    let nothing = [(Code::ShimStartsNothing, Severity::Error)];
    assert_eq!(with(&[]), nothing);
    assert_eq!(with(&[("EFI/debian/BOOTAA64.CSV", &list), debian[0], debian[1]]), nothing);
    assert_eq!(with(&[("EFI/BOOT/BOOTX64.CSV", &list), debian[0], debian[1]]), nothing);
    // One for all machines serves, unless there is one of its own beside it.
    assert_eq!(with(&[("EFI/debian/BOOT.CSV", &list), debian[0], debian[1]]), []);
    let empty = boot_list(&["absent.efi"]);
    let both = [("EFI/debian/BOOT.CSV", &list[..]), ("EFI/debian/BOOTX64.CSV", &empty), debian[0], debian[1]];
    assert_eq!(with(&both), nothing);
    // What the list leads to starts nothing.
    assert_eq!(with(&[whole[0], debian[0]]), nothing);
    let lost = only(&[(X64, &shim), (FALLBACK, &fallback), ("EFI/debian/BOOTX64.CSV", &list)]);
    assert_eq!(lost.place.to_string(), "partition 1: /EFI/BOOT/fbx64.efi");
    assert!(lost.reason.contains("/EFI/debian/nothing.efi, /EFI/debian/SHIMX64.EFI"), "{lost}");
    // A list that leads back to where it was read ends, too.
    let around = boot_list(&["fbx64.efi"]);
    let loops = [("EFI/x/BOOTX64.CSV", &around[..]), ("EFI/x/fbx64.efi", &fallback)];
    assert_eq!(with(&loops), []);
}

fn codes_with(files: &[(&str, &[u8])], more: &[(&str, &[u8])]) -> Vec<(Code, Severity)> {
    codes(&[files, more].concat())
}

const ENTRY: &str = "loader/entries/a.conf";
const GOOD: &[u8] = b"title A system\nlinux /vmlinuz-6.1.0\ninitrd /initrd-6.1.0\noptions console=ttyS0 ro\n";

#[test]
fn systemd_boot_s_entries_are_followed() {
    let (boot, kernel) = (systemd_boot(AMD64), bzimage("6.1.0 x"));
    let initrd = crate::disks::cpio(&[]);
    let (kernel, initrd) = (("vmlinuz-6.1.0", &kernel[..]), ("initrd-6.1.0", &initrd[..]));
    let findings = |files: &[(&str, &[u8])]| {
        let all = codes_with(&[(X64, &boot[..])], files);
        // The kernel here has no drivers.
        let drivers = |code: Code| code.name().ends_with("DriverMissing");
        all.into_iter().filter(|(code, _)| !drivers(*code)).collect::<Vec<_>>()
    };
    assert_eq!(findings(&[(ENTRY, GOOD), kernel, initrd]), []);
    let contents = seen(&[(X64, &boot), (ENTRY, GOOD), kernel, initrd]);
    let entry = &contents.system.entries[0];
    assert_eq!((entry.title.as_deref(), entry.kernel, entry.missing.len()), (Some("A system"), true, 0));

    let incomplete = Code::BootEntryIncomplete;
    let (error, warning) = (Severity::Error, Severity::Warning);
    // A menu without an entry that could be started.
    assert_eq!(findings(&[]), [(Code::NoBootEntry, error)]);
    assert_eq!(findings(&[(ENTRY, GOOD), initrd]), [(incomplete, error), (Code::NoBootEntry, error)]);
    assert_eq!(findings(&[(ENTRY, GOOD), kernel]), [(incomplete, error)]);
    // One of two.
    let other = ("loader/entries/b.conf", &b"linux /vmlinuz-6.2.0\noptions console=ttyS0\n"[..]);
    assert_eq!(findings(&[(ENTRY, GOOD), other, kernel, initrd]), [(incomplete, warning)]);
    let text = judged(&seen(&[(X64, &boot), (ENTRY, GOOD), other, kernel, initrd]));
    let text = text.iter().find(|finding| finding.code == incomplete).unwrap().to_string();
    assert!(text.contains("/loader/entries/b.conf: it names /vmlinuz-6.2.0, which is not"), "{text}");
    // Nobody starts a rescue entry by default.
    let rescue = ("loader/entries/rescue.conf", &b"linux /vmlinuz-rescue\noptions console=ttyS0\n"[..]);
    assert_eq!(findings(&[(ENTRY, GOOD), rescue, kernel, initrd]), []);
    // It would wait for ever.
    let menu = ("loader/loader.conf", &b"default a*\ntimeout 3\ntimeout menu-force\n"[..]);
    assert_eq!(findings(&[(ENTRY, GOOD), menu, kernel, initrd]), [(Code::LoaderWaits, error)]);
    let menu = ("loader/loader.conf", &b"#timeout menu-force\ndefault a*\ntimeout 3\n"[..]);
    assert_eq!(findings(&[(ENTRY, GOOD), menu, kernel, initrd]), []);
    let contents = seen(&[(X64, &boot), menu]);
    assert_eq!(contents.system.menus[0].default.as_deref(), Some("a*"));
}

#[test]
fn systemd_boot_looks_on_its_own_partition_and_on_xbootldr() {
    let files = [(ENTRY, GOOD), ("vmlinuz-6.1.0", &bzimage("6.1.0 x")[..]), ("initrd-6.1.0", b"070701")];
    let of = |kind: [u8; 16], second: Vec<u8>| {
        let esp = fat(1 << 20, &[(X64, &systemd_boot(AMD64))]);
        let contents = of_disk(&gpt(SIZE, vec![part(ESP, 2048, esp), part(kind, 5000, second)]));
        let found = judged(&contents).into_iter().find(|finding| finding.code == Code::NoBootEntry);
        (contents.partitions[1].role, found.map(|finding| finding.reason))
    };
    assert_eq!(of(XBOOTLDR, fat(1 << 20, &files)), (Role::XBootLoader, None));
    let (_, elsewhere) = of(LINUX, fat(1 << 20, &files));
    let words = "partition 2: /loader/entries/a.conf is an entry, but systemd-boot does not look there";
    assert!(elsewhere.unwrap().contains(words));
    // A file system that it does not read.
    let nodes = [("/loader/entries/a.conf", file("linux /vmlinuz\n")), ("/vmlinuz", file("x"))];
    assert!(of(XBOOTLDR, ext::build(1 << 20, &nodes)).1.is_some());
}

#[test]
fn a_unified_kernel_image_is_an_entry_and_its_command_line_is_judged() {
    let boot = systemd_boot(AMD64);
    let of = |command_line: Option<&[u8]>, more: &[(&str, &[u8])]| {
        let sections: Vec<(&str, &[u8])> =
            [(".linux", &b"MZ"[..])].into_iter().chain(command_line.map(|text| (".cmdline", text))).collect();
        let image = unified(&sections);
        let files = [&[(X64, &boot[..]), ("EFI/Linux/a.efi", &image)], more].concat();
        let mut findings = judged(&seen(&files));
        findings.retain(|finding| !finding.code.name().ends_with("DriverMissing"));
        findings
    };
    assert_eq!(of(Some(b"console=ttyS0"), &[]), []);
    for silent in [Some(&b"quiet console=tty0"[..]), None] {
        let findings = of(silent, &[]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!((findings[0].code, findings[0].severity), (Code::NoSerialConsole, Severity::Warning));
        assert_eq!(findings[0].place.to_string(), "partition 1: /EFI/Linux/a.efi");
        assert!(findings[0].remedy.contains("ukify"), "{findings:?}");
    }
    // An entry for it adds no command line of its own, and one with options is judged by them.
    assert_eq!(of(Some(b"console=ttyS0"), &[(ENTRY, b"title a\nefi /EFI/Linux/a.efi\n")]), []);
    assert_eq!(of(Some(b"console=ttyS0"), &[(ENTRY, b"uki /EFI/Linux/a.efi\n")]), []);
    let findings = of(Some(b"console=ttyS0"), &[(ENTRY, b"efi /EFI/Linux/a.efi\noptions quiet\n")]);
    assert_eq!((findings[0].code, findings[0].severity), (Code::NoSerialConsole, Severity::Information));
    assert!(findings[0].remedy.contains("`options`"), "{findings:?}");
    // Add-ons add to it.
    let addon = program_of(AMD64, &[(".cmdline", b"console=ttyS0,115200\n")]);
    assert_eq!(of(Some(b"quiet"), &[("EFI/Linux/a.efi.extra.d/b.addon.efi", &addon)]), []);
    assert_eq!(of(None, &[("loader/addons/b.addon.efi", &addon)]), []);
    assert_eq!(of(None, &[("EFI/Linux/b.efi.extra.d/b.addon.efi", &addon)]).len(), 1);
}

#[test]
fn what_a_new_instance_lacks_is_said_with_what_could_bring_it() {
    let grub = program_of(AMD64, &[("mods", b"")]);
    let finding = only(&[("EFI/debian/grubx64.efi", &grub)]);
    assert_eq!((finding.code, finding.severity), (Code::NoRemovableLoader, Severity::Error));
    for words in ["\\EFI\\BOOT\\BOOTX64.EFI", "/EFI/debian/grubx64.efi", "boot entry", "UefiData"] {
        assert!(finding.reason.contains(words), "{finding}");
    }
    // Without an ESP, an image that prefers UEFI does not fall back where a type has it.
    let mut disk = gpt(SIZE, vec![part(BIOS_BOOT, 2048, vec![0; 512 << 10])]);
    crate::disks::grub(&mut disk, 2048);
    for (mode, said) in [("uefi-preferred", true), ("uefi", false)] {
        let findings = lint(&of_disk(&disk), Some(&claims(Some(mode))), HERE);
        assert_eq!((findings.len(), findings[0].code), (1, Code::NoEsp), "{findings:?}");
        assert_eq!(findings[0].reason.contains("does not fall back to BIOS"), said, "{findings:?}");
    }
}

/// Programs of Debian's packages, where they are installed: what their makers' tools put into them is told aright.
#[test]
fn loaders_of_distributions_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let grub = folder.path().join("grubx64.efi");
    let made = Command::new("grub-mkimage")
        .args(["-O", "x86_64-efi", "-p", "/EFI/BOOT", "-o"])
        .arg(&grub)
        .args(["fat", "part_gpt", "normal"])
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        // It leaves what it began without its modules' package.
        drop(std::fs::remove_file(&grub));
    }
    let all = [
        (grub.as_path(), "GRUB", "grub-common or grub-efi-amd64-bin"),
        (Path::new("/usr/lib/shim/shimx64.efi"), "shim", "shim-unsigned"),
        (Path::new("/usr/lib/shim/fbx64.efi"), "shim's fallback", "shim-unsigned"),
        (Path::new("/usr/lib/shim/mmx64.efi"), "MokManager", "shim-unsigned"),
        (Path::new("/usr/lib/shim/shimx64.efi.signed"), "shim", "shim-signed"),
        (Path::new("/usr/lib/systemd/boot/efi/systemd-bootx64.efi"), "systemd-boot ", "systemd-boot-efi"),
        (Path::new("/usr/lib/systemd/boot/efi/linuxx64.efi.stub"), "systemd-stub", "systemd-boot-efi"),
    ];
    for (path, words, package) in all {
        let Ok(bytes) = std::fs::read(path) else {
            skipped(&path.display().to_string(), &format!("package {package} is not installed"));
            continue;
        };
        let name = path.file_name().unwrap().to_str().unwrap();
        let in_esp = format!("EFI/x/{}.efi", name.split('.').next().unwrap());
        let esp = fat_of(fatfs::FatType::Fat16, 16 << 20, &[(&in_esp, &bytes)]);
        let contents = of_disk(&esp);
        let loader = &contents.loaders[0];
        assert!(loader.kind.to_string().starts_with(words), "{name}: {:?}", loader.kind);
        assert_eq!((loader.machine, loader.signed), (Machine::X86_64, name.ends_with("signed")), "{name}");
    }
    unified_by_objcopy(folder.path());
}

/// A unified kernel image as systemd-stub(7) has it made.
fn unified_by_objcopy(folder: &Path) {
    let (mut objcopy, image) = (Command::new("objcopy"), folder.join("uki.efi"));
    for (name, content, at) in [
        (".osrel", "PRETTY_NAME='A real one'\n", 0x20000),
        (".cmdline", "console=ttyS0 root=LABEL=x", 0x30000),
        (".linux", "MZ", 0x200_0000),
    ] {
        let file = folder.join(name.trim_start_matches('.'));
        std::fs::write(&file, content).unwrap();
        objcopy.arg("--add-section").arg(format!("{name}={}", file.display()));
        objcopy.arg("--change-section-vma").arg(format!("{name}={at:#x}"));
    }
    let stub = Path::new("/usr/lib/systemd/boot/efi/linuxx64.efi.stub");
    let made = objcopy.arg(stub).arg(&image).output();
    if !made.is_ok_and(|output| output.status.success()) {
        skipped("a unified kernel image", "packages binutils and systemd-boot-efi are not installed");
        return;
    }
    let bytes = std::fs::read(image).unwrap();
    let contents = seen(&[(X64, &bytes)]);
    assert_eq!(contents.loaders[0].kind.to_string(), "a unified kernel image (A real one)");
    assert_eq!(contents.system.command_lines[0].text, "console=ttyS0 root=LABEL=x");
}
