//! File systems that other programs make or read: mkfs.ext4's disks, with ext4-view's opinion of them beside ours, and
//! our own builder's, so that a mistake made twice here is found there.

use crate::disks::ext::{self, Node, file};
use crate::skipped;
use ami_run_inspect::{Contents, Depth, initrd, look};
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::Command;

/// A file system of these options from a folder; None where the tool is absent.
fn mkfs(folder: &Path, options: &[&str]) -> Option<Vec<u8>> {
    let out = tempfile::NamedTempFile::new().unwrap();
    out.as_file().set_len(24 << 20).unwrap();
    let made =
        Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(folder).args(options).arg(out.path()).output();
    // Where an ordinary user's PATH lacks it.
    let made = made.or_else(|_| {
        Command::new("/usr/sbin/mkfs.ext4")
            .args(["-q", "-F", "-d"])
            .arg(folder)
            .args(options)
            .arg(out.path())
            .output()
    });
    match made {
        Ok(output) if output.status.success() => Some(std::fs::read(out.path()).unwrap()),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(cause) => {
            skipped("a file system by mkfs.ext4", &format!("{cause} (package e2fsprogs)"));
            None
        }
    }
}

fn seen(disk: &[u8]) -> Contents {
    look(&mut Cursor::new(disk), disk.len() as u64, Depth::System).unwrap()
}

#[test]
fn disks_of_mkfs_ext4_are_read_with_every_common_feature() {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str, bytes: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    put("usr/lib/os-release", b"PRETTY_NAME=\"Made by mkfs\"\n");
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    std::os::unix::fs::symlink("../usr/lib/os-release", folder.path().join("etc/os-release")).unwrap();
    let long = format!("/{}boot/grub-of-another-name.cfg", "./".repeat(40));
    put("boot/grub-of-another-name.cfg", b"linux /vmlinuz console=ttyS0 found=1\n");
    std::fs::create_dir_all(folder.path().join("boot/grub")).unwrap();
    std::os::unix::fs::symlink(&long, folder.path().join("boot/grub/grub.cfg")).unwrap();
    // A folder of many blocks, so that it has a hash tree, and a file of many.
    for number in 0..600 {
        put(&format!("boot/a-rather-long-name-of-a-file-that-fills-blocks-{number}"), b"");
    }
    let modules: Vec<u8> =
        (0..60_000).flat_map(|line| format!("kernel/m{line}.ko:\n").into_bytes()).collect();
    put("lib/modules/6.1.0/modules.dep", &[&modules[..], b"kernel/ena.ko.zst:\n"].concat());
    put("lib/modules/6.1.0/modules.builtin", b"kernel/nvme.ko\n");
    put("boot/vmlinuz-6.1.0", &crate::disks::bzimage("6.1.0"));
    for options in [
        &[][..],
        &["-b", "1024", "-O", "^64bit,^metadata_csum"],
        &["-b", "4096", "-O", "64bit,metadata_csum,flex_bg,orphan_file"],
        &["-t", "ext2"],
        &["-t", "ext3", "-b", "1024"],
        &["-O", "bigalloc,^resize_inode"],
    ] {
        let Some(disk) = mkfs(folder.path(), options) else { return };
        let contents = seen(&disk);
        assert_eq!(contents.unread, [], "{options:?}");
        assert_eq!(contents.system.names, [(0, "Made by mkfs".to_owned())], "{options:?}");
        assert_eq!(contents.system.command_lines[0].text, "console=ttyS0 found=1", "{options:?}");
        let drivers = format!("{:?}", contents.system.kernels["6.1.0"].drivers);
        assert!(drivers.starts_with("{Nvme: Kernel, Ena: Root,"), "{options:?}: {drivers}");
        let oracle = ext4_view::Ext4::load(Box::new(disk)).unwrap();
        assert_eq!(oracle.read("/boot/grub/grub.cfg").unwrap(), b"linux /vmlinuz console=ttyS0 found=1\n");
    }
    let Some(disk) = mkfs(folder.path(), &["-O", "inline_data"]) else { return };
    let unread = seen(&disk).unread;
    assert!(unread.iter().any(|unread| unread.why.contains("inside its inode")), "{unread:?}");
}

#[test]
fn our_own_builder_s_disks_are_what_ext4_view_takes_them_for() {
    let large: Vec<u8> = (0..60_000u32).flat_map(u32::to_le_bytes).collect();
    let mut sparse = vec![0; 100_000];
    sparse[50_000] = 1;
    let nodes = [
        ("/etc/os-release", file("PRETTY_NAME=x\n")),
        ("/link", Node::Link("etc/../etc/os-release".to_owned())),
        ("/a/b/c/large", Node::File(large.clone())),
        ("/a/b/mapped", Node::Mapped(large.clone())),
        ("/a/sparse", Node::Mapped(sparse.clone())),
    ];
    let oracle = ext4_view::Ext4::load(Box::new(ext::build(2 << 20, &nodes))).unwrap();
    assert_eq!(oracle.read("/link").unwrap(), b"PRETTY_NAME=x\n");
    assert_eq!(oracle.read("/a/b/c/large").unwrap(), large);
    assert_eq!(oracle.read("/a/b/mapped").unwrap(), large);
    assert_eq!(oracle.read("/a/sparse").unwrap(), sparse);
}

#[test]
fn initrds_are_read_however_they_are_packed() {
    let plain = crate::disks::cpio(&[
        ("usr/lib/modules/6.1.0/kernel/virtio-blk.ko.zst", &[7; 1000]),
        ("usr/lib/modules/6.1.0/modules.builtin", b"kernel/nvme.ko\n"),
    ]);
    let expected = initrd::read(&plain[..]);
    assert_eq!((expected.modules.len(), expected.built_in.len(), expected.entries), (1, 1, 2));
    assert_eq!(initrd::read(&crate::disks::gzip(&plain)[..]), expected);
    for (tool, arguments) in
        [("zstd", &["-q", "-19", "-c"][..]), ("xz", &["--check=crc32", "-c"]), ("xz", &["-c"])]
    {
        let mut source = tempfile::NamedTempFile::new().unwrap();
        source.write_all(&plain).unwrap();
        let Ok(output) = Command::new(tool).args(arguments).arg(source.path()).output() else {
            skipped(&format!("an initrd packed by {tool}"), "it is not installed");
            continue;
        };
        assert!(output.status.success());
        assert_eq!(initrd::read(&output.stdout[..]), expected, "{tool}");
        let cut = initrd::read(&output.stdout[..output.stdout.len() / 2]);
        assert!(cut.unread.is_some(), "{tool}: {cut:?}");
    }
}
