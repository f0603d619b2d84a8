//! Licences of all dependencies, as cargo knows them.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

const ALLOWED: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "Unicode-3.0",
    "Zlib",
];

/// What cargo says about the workspace and what it is built from on this architecture, without the network.
pub(crate) fn metadata(root: &Path) -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform])
        .output()
        .map_err(|cause| format!("cargo cannot be run: {cause}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "cargo metadata failed: {}",
            text.lines().next().unwrap_or("it does not say why")
        ));
    }
    serde_json::from_slice(&output.stdout).map_err(|cause| format!("cargo metadata is no JSON: {cause}"))
}

/// The packages whose licence we may not take.
pub(crate) fn refused(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    if packages.is_empty() {
        return vec!["cargo metadata names no packages".to_owned()];
    }
    let mut complaints = Vec::new();
    for package in packages {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or(""));
        if !is_allowed(licence) {
            complaints
                .push(format!("Cargo.lock: {name} is under {licence:?}, which the list of licences lacks"));
        }
    }
    complaints
}

/// Judges an SPDX expression; `/` is an old way to write OR.
fn is_allowed(licence: &str) -> bool {
    let spaced = licence.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>) -> bool {
    let mut allowed = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut Words<'_>) -> bool {
    let mut allowed = one(words);
    while words.next_if_eq(&"AND").is_some() {
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut Words<'_>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        return any_of(words) & words.next_if_eq(&")").is_some();
    }
    let mut name = words.next().unwrap_or("").to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        name = format!("{name} WITH {}", words.next().unwrap_or(""));
    }
    ALLOWED.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_by_what_may_be_chosen() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "Unlicense OR MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0-only",
            "MIT AND GPL-2.0-only",
            "(MIT OR Apache-2.0) AND MPL-2.0",
            "MIT WITH some-exception",
            "(MIT",
            "MIT Apache-2.0",
        ] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_package_without_a_good_licence_is_named() {
        let metadata = serde_json::json!({"packages": [
            {"name": "fine", "license": "MIT"},
            {"name": "copyleft", "license": "GPL-3.0-only"},
            {"name": "unknown", "license": null},
        ]});
        let complaints = refused(&metadata);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].contains("copyleft"));
        assert_eq!(refused(&serde_json::json!({})).len(), 1);
    }
}
