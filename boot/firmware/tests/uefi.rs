//! UEFI variables beside what others make of them: the distribution's variable stores, and AWS's own tool, uefivars
//! (`pip install uefivars`), the one judge of UefiData outside of EC2. What is not installed is skipped, in words.
#![expect(clippy::unwrap_used, reason = "a test: what does not fit fails it")]

use ami_run_firmware::uefi::{Authentication, NON_VOLATILE, Store, Variable, aws};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const PUBLISHED: &str = include_str!("data/uefi_data.base64");

/// Says that a check was not done, where the test runner doesn't capture it.
fn skipped(check: &str, why: &str) {
    let mut uncaptured = std::io::stderr();
    writeln!(uncaptured, "skipped: {check}: {why}").unwrap();
}

/// A file of the package ovmf.
fn ovmf(name: &str) -> Option<Vec<u8>> {
    let path = Path::new("/usr/share/OVMF").join(name);
    let read = std::fs::read(&path);
    read.inspect_err(|cause| skipped(&path.display().to_string(), &format!("{cause} (package ovmf)"))).ok()
}

/// The published sample's variables, and one that somebody signed.
fn variables() -> Vec<Variable> {
    let mut variables = aws::decode(PUBLISHED).unwrap();
    variables.push(Variable {
        name: "Signed".to_owned(),
        vendor: *b"vendor of sixtee",
        attributes: NON_VOLATILE | 0x26,
        data: b"data".to_vec(),
        authentication: Some(Authentication { timestamp: [7; 16], digest: (1..=32).collect() }),
    });
    variables
}

#[test]
fn the_distribution_s_template_takes_variables_and_changes_nowhere_else() {
    let Some(template) = ovmf("OVMF_VARS_4M.fd") else { return };
    assert_eq!(Store::parse(&template).unwrap().variables(), []);
    assert_eq!(Store::build(&template, &[]).unwrap(), template);
    let image = Store::build(&template, &variables()).unwrap();
    assert_eq!(Store::parse(&image).unwrap().variables(), variables());
    let changed = image.iter().zip(&template).rposition(|(new, old)| new != old).unwrap();
    assert!(changed < 0x4_0000, "{changed:#x}");
    assert!(image.iter().zip(&template).take(100).all(|(new, old)| new == old));
}

#[test]
fn a_store_that_firmware_has_written_is_read() {
    let (Some(enrolled), Some(template)) = (ovmf("OVMF_VARS_4M.ms.fd"), ovmf("OVMF_VARS_4M.fd")) else {
        return;
    };
    let store = Store::parse(&enrolled).unwrap();
    assert_eq!(store.unreadable(), 0);
    let names: Vec<&str> = store.variables().iter().map(|variable| variable.name.as_str()).collect();
    for name in ["PK", "KEK", "db", "dbx", "MTC"] {
        assert_eq!(names.iter().filter(|it| **it == name).count(), 1, "{name} of {names:?}");
    }
    assert!(!names.contains(&"certdb"));
    let moved = Store::build(&template, store.variables()).unwrap();
    assert_eq!(Store::parse(&moved), Ok(store));
}

#[test]
fn firmware_s_code_is_no_store() {
    let Some(code) = ovmf("OVMF_CODE_4M.fd") else { return };
    let error = Store::parse(&code).unwrap_err().to_string();
    assert!(error.starts_with("not a UEFI variable store but firmware itself"), "{error}");
}

/// What uefivars makes of a file.
fn uefivars(from: &str, to: &str, file: &[u8]) -> Option<Vec<u8>> {
    let mut input = tempfile::NamedTempFile::new().unwrap();
    input.write_all(file).unwrap();
    let arguments = ["-i", from, "-o", to, "-I"];
    let run = Command::new("uefivars").args(arguments).arg(input.path()).stdin(Stdio::null()).output();
    let output =
        run.inspect_err(|cause| skipped("uefivars", &format!("{cause} (pip install uefivars)"))).ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn decoded(text: Vec<u8>) -> Vec<Variable> {
    aws::decode(&String::from_utf8(text).unwrap()).unwrap()
}

#[test]
fn uefivars_and_we_read_each_other() {
    let variables = variables();
    let ours = aws::encode(&variables).unwrap();
    let Some(theirs) = uefivars("aws", "aws", ours.as_bytes()) else { return };
    assert_eq!(decoded(theirs), variables, "UefiData");
    let store = uefivars("aws", "edk2", ours.as_bytes()).unwrap();
    assert_eq!(Store::parse(&store).unwrap().variables(), variables, "their store");
    let ours = Store::build(&store, &variables).unwrap();
    assert_eq!(decoded(uefivars("edk2", "aws", &ours).unwrap()), variables, "our store on their template");
    let Some(template) = ovmf("OVMF_VARS_4M.fd") else { return };
    let ours = Store::build(&template, &variables).unwrap();
    assert_eq!(
        decoded(uefivars("edk2", "aws", &ours).unwrap()),
        variables,
        "our store on the distribution's"
    );
}
