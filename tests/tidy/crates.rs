//! Checks between crates: who may use whom, which may differ by architecture, and one version of what they share.

use crate::Text;

/// Which of the workspace's crates a crate may use, by folder. A crate that is not here may not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    ("boot/image", &[]),
    ("boot/inspect", &["image"]),
    ("boot/catalog", &["image", "inspect", "storage"]),
    ("boot/firmware", &["memory"]),
    ("devices/memory", &[]),
    ("devices/storage", &["memory"]),
    ("devices/network", &["memory"]),
    ("devices/metadata", &[]),
    ("devices/models", &["memory", "storage", "network"]),
    ("vmm/machine", &["memory", "models", "storage", "network", "firmware"]),
    ("vmm/ami-run", &ALL),
    ("tests/bench/network", &["network"]),
    ("tests/bench/volume", &["memory", "storage"]),
    (
        "tests/fuzz",
        &["image", "inspect", "catalog", "firmware", "memory", "metadata", "models", "network", "storage"],
    ),
    ("tests/fuzz/libfuzzer", &["fuzz"]),
];

const ALL: [&str; 10] = [
    "image", "inspect", "catalog", "firmware", "memory", "storage", "network", "metadata", "models",
    "machine",
];

/// Dependencies that one crate alone names, so that nobody else can: guest memory has one owner, KVM one user.
const OWNED: &[(&str, &str)] =
    &[("vm-memory", "devices/memory"), ("kvm-ioctls", "vmm/machine"), ("kvm-bindings", "vmm/machine")];

/// Crates that have a folder for each architecture, between which the compiler chooses. All others are told as a value
/// which one it is, so that either computer can test both.
const SPLIT: [&str; 2] = ["boot/firmware/", "vmm/machine/"];

/// Crates whose types stand in each other's interfaces.
const SHARED: &[&str] = &["vm-memory", "vmm-sys-util", "kvm-bindings", "virtio-bindings"];

/// Checks one crate's Cargo.toml.
pub(crate) fn forbidden_dependencies(manifest: &Text) -> Vec<String> {
    let folder = manifest.path.trim_end_matches("/Cargo.toml");
    let Some((_, may)) = MAY_USE.iter().find(|(name, _)| *name == folder) else {
        return vec![format!(
            "{}:1: a crate that the table of tests/tidy/crates.rs doesn't know",
            manifest.path
        )];
    };
    let mut complaints = Vec::new();
    for (number, name) in dependencies(&manifest.text) {
        let inner = name.strip_prefix("ami-run-");
        if inner.is_some_and(|inner| !may.contains(&inner)) {
            complaints.push(format!("{}:{number}: {folder} may not use {name}", manifest.path));
        }
        if let Some((_, owner)) = OWNED.iter().find(|(owned, owner)| *owned == name && *owner != folder) {
            complaints.push(format!("{}:{number}: only {owner} may name {name}", manifest.path));
        }
    }
    complaints
}

/// The names in every section of dependencies, with their line numbers.
fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let (mut inside, mut names) = (false, Vec::new());
    for (number, line) in (1..).zip(manifest.lines()) {
        if let Some(section) = line.trim().strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies");
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let end = line.find([' ', '.', '=']).unwrap_or(line.len());
            names.extend(line.get(..end).map(|name| (number, name)));
        }
    }
    names
}

/// Finds a source file that reaches past a dependency's owner, by a re-export or a path.
pub(crate) fn forbidden_names(file: &Text) -> Vec<String> {
    let mut complaints = Vec::new();
    for (owned, owner) in OWNED {
        let name = format!("{}::", owned.replace('-', "_"));
        if file.path.starts_with(&format!("{owner}/")) {
            continue;
        }
        for (number, _) in (1..).zip(file.text.lines()).filter(|(_, line)| line.contains(&name)) {
            complaints.push(format!("{}:{number}: only {owner} may name {owned}", file.path));
        }
    }
    complaints
}

/// Finds a source file or a manifest that has the compiler choose by architecture, where that is nobody's business.
/// Tests may: a guest that boots is of one architecture.
pub(crate) fn forbidden_choice(file: &Text) -> Vec<String> {
    let may = SPLIT.into_iter().chain(["tests/"]).any(|folder| file.path.starts_with(folder));
    let lines = (1..).zip(file.text.lines()).filter(|(_, line)| !may && line.contains("target_arch"));
    let told = |(number, _)| {
        format!("{}:{number}: only {} may ask for target_arch: take a value", file.path, SPLIT.join(" and "))
    };
    lines.map(told).collect()
}

/// Checks Cargo.lock.
pub(crate) fn several_versions(lock: &str) -> Vec<String> {
    let count = |name: &str| lock.lines().filter(|line| *line == format!("name = \"{name}\"")).count();
    let several = SHARED.iter().filter(|name| count(name) != 1);
    several.map(|name| format!("Cargo.lock: {} versions of {name}, not one", count(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Text {
        Text { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_crate_that_uses_what_it_may_not_is_found() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nami-run-memory.workspace = true\n\
                        ami-run-machine = { path = \"..\" }\n[dev-dependencies]\nvm-memory = \"1\"\n";
        let complaints = forbidden_dependencies(&file("devices/storage/Cargo.toml", manifest));
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].starts_with("devices/storage/Cargo.toml:5: "));
        assert!(complaints[1].contains("only devices/memory"));
        assert_eq!(forbidden_dependencies(&file("devices/other/Cargo.toml", "")).len(), 1);
        assert!(
            forbidden_dependencies(&file("vmm/ami-run/Cargo.toml", "[dependencies]\nami-run-machine = 1\n"))
                .is_empty()
        );
    }

    #[test]
    fn a_source_file_that_names_another_crate_s_own_is_found() {
        let text = ["vm_memory", "kvm_bindings"].map(|name| format!("use {name}::Thing;\n")).concat();
        let text = text.as_str();
        assert_eq!(forbidden_names(&file("devices/models/src/a.rs", text)).len(), 2);
        assert_eq!(forbidden_names(&file("devices/memory/src/a.rs", text)).len(), 1);
    }

    #[test]
    fn a_choice_by_architecture_outside_of_its_folders_is_found() {
        let found = |path: &str| forbidden_choice(&file(path, "//! x\n#[cfg(target_arch = \"x86_64\")]\n"));
        let complaints = found("vmm/ami-run/src/doctor/mod.rs");
        assert!(complaints[0].starts_with("vmm/ami-run/src/doctor/mod.rs:2: "), "{complaints:?}");
        assert_eq!(found("devices/models/Cargo.toml").len(), 1);
        for path in ["vmm/machine/src/lib.rs", "boot/firmware/Cargo.toml", "tests/guests/main.rs"] {
            assert_eq!(found(path), Vec::<String>::new(), "{path}");
        }
        assert_eq!(forbidden_choice(&file("boot/image/src/lib.rs", "//! x\n")), Vec::<String>::new());
    }

    #[test]
    fn a_second_version_and_a_missing_one_are_found() {
        let lock: String = SHARED.iter().map(|name| format!("[[package]]\nname = \"{name}\"\n")).collect();
        assert_eq!(several_versions(&lock), Vec::<String>::new());
        assert_eq!(several_versions(&format!("{lock}name = \"vm-memory\"\n")).len(), 1);
        assert_eq!(several_versions("").len(), SHARED.len());
    }
}
