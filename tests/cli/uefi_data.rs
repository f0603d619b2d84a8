//! UEFI variables from outside: those that an instance is given, and those that it has kept.

use crate::life::Life;
use crate::run::{Place, has_kvm, run, skip};
use ami_run_catalog::{Start, State, StateReason};
use ami_run_firmware::uefi::{NON_VOLATILE, Store, Variable, aws};
use ami_run_storage::flash::{Change, FlashFile};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// As EC2 gave it to somebody who published it.
pub(crate) const PUBLISHED: &str = include_str!("../../boot/firmware/tests/data/uefi_data.base64");
const TEMPLATE: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

pub(crate) fn template() -> Option<Vec<u8>> {
    let read = fs::read(TEMPLATE);
    read.inspect_err(|cause| skip(&format!("{TEMPLATE}: {cause} (package ovmf)"))).ok()
}

fn variable(name: &str, data: &[u8]) -> Variable {
    Variable {
        name: name.to_owned(),
        vendor: *b"vendor of sixtee",
        attributes: NON_VOLATILE | 0x6,
        data: data.to_vec(),
        authentication: None,
    }
}

/// A stopped instance that starts by uefi, and where its variables are to be.
pub(crate) fn stopped(life: &Life, name: &str) -> (String, PathBuf) {
    let mut held = life.running(name);
    held.change(|record| {
        record.current_instance_boot_mode = "uefi".to_owned();
        record.own.uefi_data = Some("given".to_owned());
    })
    .unwrap();
    held.enter(State::Stopped, Some(StateReason::by_user())).unwrap();
    (held.record().instance_id.clone(), held.folder().join("uefi-vars"))
}

fn told(life: &Life, name: &str) -> Vec<Variable> {
    aws::decode(&life.done(&format!("uefi-data {name}"))).unwrap()
}

#[test]
fn what_an_instance_keeps_is_given_as_ec2_gives_it() {
    let Some(template) = template() else { return };
    let life = Life::new();
    let (id, path) = stopped(&life, "web");
    let given = aws::decode(PUBLISHED).unwrap();
    let image = Store::build(&template, &given).unwrap();
    FlashFile::create(&path, &image).unwrap();
    let text = life.done("uefi-data web");
    assert_eq!(
        life.instance(&id).unwrap()["AmiRun"].get("UefiData"),
        None,
        "it is told only by its own verb"
    );
    assert_eq!((text.lines().count(), aws::decode(&text).unwrap()), (1, given.clone()));
    let json: Value = serde_json::from_str(&life.done(&format!("uefi-data {id} --output json"))).unwrap();
    assert_eq!(json, json!({"InstanceId": id, "UefiData": text.trim_end()}));

    // The other layout; and while a machine runs, what it has written last counts.
    let small = fs::read("/usr/share/OVMF/OVMF_VARS.fd").ok();
    for (name, template) in [("db", Some(template)), ("old", small)] {
        let Some(template) = template else { continue };
        let (_, path) = stopped(&life, name);
        FlashFile::create(&path, &template).unwrap();
        assert_eq!(told(&life, name), []);
        let (file, _) = FlashFile::open(&path, template.len()).unwrap();
        let all = [variable("One", b"1"), variable("Two", b"2")];
        let image = Store::build(&template, &all).unwrap();
        for (block, bytes) in image.chunks(4096).enumerate() {
            file.append(u32::try_from(block * 4096).unwrap(), Change::Bytes(bytes)).unwrap();
        }
        assert_eq!(told(&life, name), all, "{name}");
    }
    life.done("terminate web");
    assert!(!path.exists());
    let ended = life.ended(&["uefi-data", &id]);
    assert!(ended.code == Some(1) && ended.err.contains("(IncorrectInstanceState)"), "{}", ended.err);
}

#[test]
fn an_instance_without_variables_is_told_why() {
    let life = Life::new();
    life.stopped("bios");
    let (_, path) = stopped(&life, "new");
    let mut kernel = life.running("kernel");
    kernel
        .change(|record| {
            record.current_instance_boot_mode = "uefi".to_owned();
            record.own.start =
                Start::Kernel { kernel: "/k".into(), initrd: None, command_line: String::new() };
        })
        .unwrap();
    kernel.enter(State::Stopped, Some(StateReason::by_user())).unwrap();
    let refused = |name: &str, says: &[&str]| {
        let ended = life.ended(&["uefi-data", name]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{name}: {}", ended.err);
        assert!(says.iter().all(|part| ended.err.contains(part)), "{name}: {}", ended.err);
    };
    refused("nobody", &["(InvalidInstanceID.Malformed)"]);
    refused("bios", &["has no UEFI data. (UnsupportedOperation)", "it starts by legacy-bios"]);
    refused("kernel", &["(UnsupportedOperation)", "a kernel without firmware"]);
    refused("new", &["(IncorrectInstanceState)", "its machine has not run yet"]);
    fs::write(&path, vec![0; 0x8_4000]).unwrap();
    refused("new", &["cannot tell the UEFI variables of i-", "not a UEFI variable store"]);
    fs::write(&path, "short").unwrap();
    refused("new", &["has 5 bytes"]);
}

/// A place with a disk and with UefiData, right and wrong.
fn place() -> Place {
    let place = Place::new();
    place.write("d.raw", crate::lint::bios_disk());
    let text: String = PUBLISHED.split_whitespace().collect();
    let mut wrong = text.clone();
    let changed = if wrong.remove(60) == 'A' { 'B' } else { 'A' };
    wrong.insert(60, changed);
    place.write("good", PUBLISHED);
    place.write("wrong", wrong);
    place.write("cut", text.split_at(16).0);
    place.write("foreign", "aGVsbG8gd29ybGQ=");
    place.write("odd", "{hello}");
    place.write("words", "hello world!");
    place.write("binary", [0xff, 0xfe]);
    place.write("long", "A".repeat(64_004));
    place.write("huge", "A".repeat((256 << 10) + 1));
    place.write("answer.json", format!(r#"{{"InstanceId": "i-1", "UefiData": "{text}"}}"#));
    place.write("attribute.json", format!(r#"{{"ImageId": "ami-1", "UefiData": {{"Value": "{text}"}}}}"#));
    place.write("other.json", r#"{"InstanceId": "i-1"}"#);
    place
}

fn dry<'a>(given: &'a str, mode: &'a str) -> [&'a str; 6] {
    ["d.raw", "--dry-run", "--boot-mode", mode, "--uefi-data", given]
}

#[test]
fn uefi_data_is_taken_in_every_form_that_ec2_gives_it_in() {
    let place = place();
    for given in ["good", "file://good", "answer.json", "attribute.json"] {
        let ended = run(place.command(&dry(given, "uefi")));
        assert_eq!(ended.code, Some(0), "{given}: {}", ended.err);
    }
    let mut command = place.command(&dry("-", "uefi"));
    command.stdin(fs::File::open(place.inputs().join("answer.json")).unwrap());
    let ended = run(command);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

#[test]
fn uefi_data_that_is_wrong_is_refused_before_anything_is_made() {
    let place = place();
    let literal: String = PUBLISHED.split_whitespace().collect();
    let cases: [(&str, i32, &[&str]); 12] = [
        ("wrong", 1, &["--uefi-data wrong: ", "UefiData with a wrong checksum"]),
        ("cut", 1, &["UefiData cut short"]),
        ("foreign", 1, &["does not begin with AMZNUEFI"]),
        ("words", 1, &["it is not base64"]),
        ("binary", 1, &["it is not text", "uefivars -i edk2 -o aws"]),
        ("long", 1, &["64004 characters, and EC2 takes 64000 at most"]),
        ("huge", 1, &["more than 262144 bytes"]),
        ("odd", 1, &["it is JSON, but not with UefiData in it", "column 2"]),
        ("other.json", 1, &["it is JSON, but not with UefiData in it", "get-instance-uefi-data"]),
        ("none", 2, &["--uefi-data: cannot read none", "No such file"]),
        (&literal, 2, &["looks like UefiData itself", "--uefi-data -"]),
        (
            "good",
            1,
            &[
                "is for an instance that starts by uefi, and this one starts by legacy-bios",
                "--boot-mode uefi",
            ],
        ),
    ];
    for (given, code, says) in cases {
        let mode = if given == "good" { "legacy-bios" } else { "uefi" };
        let mut words = dry(given, mode);
        // A launch, which would make something.
        words[1] = "--rm";
        let ended = run(place.command(&words));
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{given}: {}", ended.err);
        for part in says {
            assert!(ended.err.contains(part), "{given}: no {part:?}: {}", ended.err);
        }
        assert!(!place.inputs().join("../home/.local").exists(), "{given}");
    }
    for (words, says) in [
        (&["--kernel", "k", "--uefi-data", "good"][..], "cannot be used with"),
        (&["-", "--uefi-data", "-"], "--uefi-data -: the image is read from standard input already"),
        (&["d.raw", "--user-data", "-", "--uefi-data", "-"], "--uefi-data -: --user-data is read"),
    ] {
        let ended = run(place.command(words));
        assert!(ended.err.contains(says), "{words:?}: {}", ended.err);
    }
}

/// Code that looks like OVMF's; where the CPU starts it says `up` on the serial port, and halts.
fn code() -> Vec<u8> {
    let mut code = vec![0; 0x37_c000];
    code[40..44].copy_from_slice(b"_FVH");
    let vector = code.len() - 20;
    code[vector..vector + 4].copy_from_slice(b"VTF\0");
    // mov al, 'u'; mov dx, 0x3f8; out dx, al; mov al, 'p'; out dx, al; hlt; jmp to the hlt
    let says_up = [0xb0, b'u', 0xba, 0xf8, 0x03, 0xee, 0xb0, b'p', 0xee, 0xf4, 0xeb, 0xfd];
    code[vector + 4..vector + 16].copy_from_slice(&says_up);
    code
}

#[test]
fn an_instance_begins_with_the_variables_that_it_was_given() {
    let Some(template) = template() else { return };
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    life.place.write("X_CODE.fd", code());
    life.place.write("X_VARS.fd", template);
    life.place.write("given", PUBLISHED);
    for (name, options, expected) in [
        ("given", &["--uefi-data", "given"][..], aws::decode(PUBLISHED).unwrap()),
        ("fresh", &[], Vec::new()),
    ] {
        let mut command = life.place.command(&["disk.raw", "--firmware", "X_CODE.fd", "--boot-mode", "uefi"]);
        command.args(["--force", "--cpus", "1", "--memory", "64", "--name", name, "--keep"]);
        command.args(["--wait-for", "console:up", "--stop-timeout", "1"]).args(options);
        let ended = run(command);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.err);
        assert_eq!(told(&life, name), expected, "{name}");
    }
}

/// More than the firmware's store has room for, though EC2's interface takes it.
#[test]
fn uefi_data_that_does_not_fit_the_firmware_is_refused() {
    if template().is_none() || !Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").exists() {
        return;
    }
    let place = place();
    let large = aws::encode(&[variable("Large", &[0; 300 << 10])]).unwrap();
    place.write("large", large);
    let ended = run(place.command(&["d.raw", "--rm", "--boot-mode", "uefi", "--uefi-data", "large"]));
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("a UEFI variable store too small: the variables need"), "{}", ended.err);
    assert!(!place.inputs().join("../home/.local").exists());
}
