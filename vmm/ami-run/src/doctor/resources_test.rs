//! Every state of firmware, memory and folders, and what is said of it.

use super::super::facts::Space;
use super::*;
use crate::exit::Code;

fn assert_check(check: &Check, status: Status, found: &str, remedy: Option<&str>) {
    assert_eq!(check.status, status, "{check:?}");
    assert!(check.found.contains(found), "no {found:?}: {check:?}");
    let told = check.remedy.as_deref();
    assert_eq!(told.is_some(), remedy.is_some(), "{check:?}");
    assert!(remedy.is_none_or(|part| told.unwrap_or_default().contains(part)), "no {remedy:?}: {check:?}");
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

#[test]
fn firmware_is_there_or_says_what_to_install() {
    let there = bios(&Ok(PathBuf::from("/usr/share/seabios/bios-256k.bin")));
    assert_check(&there, Status::Ok, "SeaBIOS: /usr/share/seabios/bios-256k.bin", None);
    let missing = bios(&Err(Failure::new(Code::Host, "no SeaBIOS").because(&error(libc::ENOENT))));
    assert_check(&missing, Status::Failed, "no SeaBIOS", Some("No such file"));
}

#[test]
fn a_computer_without_uefi_firmware_can_launch_other_images() {
    let there = uefi(&Ok(PathBuf::from("/usr/share/OVMF/OVMF_CODE_4M.fd")), true);
    assert_check(&there, Status::Ok, "OVMF: /usr/share/OVMF/OVMF_CODE_4M.fd", None);
    let missing = Err(Failure::new(Code::Host, "no OVMF").because(&error(libc::ENOENT)));
    assert_check(&uefi(&missing, true), Status::Warning, "no OVMF", Some("No such file"));
    // Where there is no BIOS, there are no other images.
    assert_check(&uefi(&missing, false), Status::Failed, "no OVMF", Some("No such file"));
    let there = uefi(&Ok(PathBuf::from("/usr/share/AAVMF/AAVMF_CODE.fd")), false);
    assert_check(&there, Status::Ok, "AAVMF: /usr/share/AAVMF/AAVMF_CODE.fd", None);
}

#[test]
fn memory_fails_only_where_a_launch_is_refused() {
    let of = |total, available, limit_mib| {
        memory(&Memory { total_mib: Some(total), available_mib: Some(available), limit_mib })
    };
    assert_check(&of(8000, 1024, None), Status::Ok, "1024 MiB of 8000 are available;", None);
    assert_check(&of(8000, 4000, Some(1024)), Status::Ok, "this session's limit is 1024 MiB", None);
    assert_check(&of(8000, 1023, None), Status::Warning, "1023 MiB", Some("or end other programs"));
    assert_check(
        &of(8000, 4000, Some(512)),
        Status::Warning,
        "512 MiB",
        Some("or the session or container more"),
    );
    assert_check(&of(1023, 900, None), Status::Failed, "more than this computer has, 1023", Some("--memory"));
    let unknown = Memory { total_mib: None, available_mib: None, limit_mib: None };
    assert_check(&memory(&unknown), Status::Information, "not known", None);
}

#[test]
fn disk_space_fails_where_a_volume_cannot_be_written() {
    let with = |kind: &str, free: u64, sparse, trouble| {
        let space = Space { free, file_system: Some(kind.to_owned()), sparse };
        disk_space(&Writes { folder: PathBuf::from("/w"), space: Ok(space), trouble })
    };
    let plenty = 70 * GIB;
    assert_check(&with("ext4", plenty, true, None), Status::Ok, "go to /w (ext4, 70 GiB free)", None);
    assert_check(
        &with("ext4", GIB - 1, true, None),
        Status::Warning,
        "1023 MiB free): a guest",
        Some("TMPDIR"),
    );
    assert_check(&with("tmpfs", plenty, true, None), Status::Warning, "takes memory", Some("on a disk"));
    assert_check(&with("exfat", plenty, false, None), Status::Warning, "its whole size", Some("ext4"));

    let full = Trouble::Write(error(libc::ENOSPC));
    assert_check(&with("ext4", 0, true, Some(full)), Status::Failed, "No space left", Some("make space"));
    let read_only = Trouble::Create(error(libc::EROFS));
    assert_check(
        &with("ext4", plenty, true, Some(read_only)),
        Status::Failed,
        "no file can be made there: Read-only",
        Some("that can be written to"),
    );
    let too_large = Trouble::Size(error(libc::EFBIG));
    assert_check(&with("vfat", plenty, true, Some(too_large)), Status::Failed, "8 GiB", Some("xfs"));
    let limit = Trouble::Limit(512);
    assert_check(&with("xfs", plenty, true, Some(limit)), Status::Failed, "512 bytes", Some("ulimit -f"));

    let unseen =
        |errno| disk_space(&Writes { folder: PathBuf::from("/w"), space: Err(error(errno)), trouble: None });
    assert_check(&unseen(libc::ENOENT), Status::Failed, "no folder /w", Some("mkdir -p /w"));
    assert_check(&unseen(libc::EACCES), Status::Failed, "looked at: Permission", Some("set TMPDIR"));
}

#[test]
fn a_state_folder_that_cannot_be_used_stops_every_launch() {
    let state = |nearest: &str, is_folder, own, writable| State {
        folder: PathBuf::from("/u/s"),
        nearest: Some(Nearest { path: PathBuf::from(nearest), is_folder, own, writable }),
    };
    let cases = [
        (state("/u/s", true, true, true), Status::Ok, "/u/s is there", None),
        (
            state("/u/s", true, false, true),
            Status::Failed,
            "belongs to another user",
            Some("AMI_RUN_STATE_DIR"),
        ),
        (state("/u/s", false, true, true), Status::Failed, "is not a folder", Some("AMI_RUN_STATE_DIR")),
        // Whose the folder above is does not matter.
        (state("/u", true, false, true), Status::Ok, "can be made", None),
        (
            state("/u", true, false, false),
            Status::Failed,
            "made: /u cannot be written to",
            Some("of your own"),
        ),
        (State { folder: "/u/s".into(), nearest: None }, Status::Failed, "can be seen", Some("of your own")),
    ];
    for (state, status, found, remedy) in cases {
        assert_check(&state_folder(&state), status, found, remedy);
    }
}

#[test]
fn io_uring_is_told_with_the_setting_that_forbids_it() {
    let of = |trial, disabled: Option<&str>| io_uring(&Ring { trial, disabled: disabled.map(str::to_owned) });
    assert_check(&of(Ok(()), Some("0")), Status::Information, "usable", None);
    let denied = of(Err(error(libc::EPERM)), Some("2"));
    assert_check(&denied, Status::Information, "(kernel.io_uring_disabled is 2)", None);
    // A container's system call filter says the same without the setting.
    let filtered = of(Err(error(libc::EPERM)), Some("0"));
    assert_check(
        &filtered,
        Status::Information,
        "not usable: Operation not permitted (os error 1); disks",
        None,
    );
    assert_check(&of(Err(error(libc::ENOSYS)), None), Status::Information, "not usable: ", None);
}
