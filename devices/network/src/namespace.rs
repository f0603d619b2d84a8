//! For the tests: a network of a test's own, and a process in which nothing else goes on.

use std::process::Command;

/// Set in the namespace.
const WITHIN: &str = "AMI_RUN_TEST_NAMESPACE";

pub(crate) fn run(script: &str) -> Result<(), String> {
    let said = Command::new("sh").args(["-c", script]).output().map_err(|cause| cause.to_string())?;
    if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).trim().to_owned()) }
}

/// Runs the test of this name once more, in a process and a network namespace of its own.
pub(crate) fn in_a_namespace(name: &str, test: impl FnOnce()) {
    if std::env::var_os(WITHIN).is_some() {
        return test();
    }
    if let Err(cause) = run("unshare -Urn sh -c 'ip link set lo up && ip tuntap add tap0 mode tap'") {
        return eprintln!("skipped: no network namespace with a TAP interface can be made here: {cause}");
    }
    let within = Command::new("unshare")
        .arg("-Urn")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(WITHIN, "1")
        .output()
        .unwrap();
    let said = [&within.stdout, &within.stderr].map(|said| String::from_utf8_lossy(said)).concat();
    assert!(within.status.success() && said.contains("1 passed"), "in the namespace: {said}");
}
