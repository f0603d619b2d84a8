//! The repository's own checks: what ARCHITECTURE.md promises about the source and its dependencies, so that it stays
//! true. Each check is a function from text to complaints, with a test of its own that shows that it can fail.
#![expect(clippy::unwrap_used, reason = "a test: what cannot be read fails it")]

#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/licences.rs"]
mod licences;
#[path = "tidy/source.rs"]
mod source;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file of the repository: its path from the root, and its text.
struct Text {
    path: String,
    text: String,
}

/// The repository's root: the nearest folder above the crate whose Cargo.toml is a workspace.
fn root() -> PathBuf {
    let is_root = |folder: &&Path| {
        std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(is_root).unwrap().to_owned()
}

/// Every text file of the repository: what git knows or would add, or without git every file but build output.
fn texts() -> Vec<Text> {
    let root = root();
    let paths = listed_by_git(&root).unwrap_or_else(|| {
        let mut paths = Vec::new();
        walk(&root, &root, &mut paths);
        paths
    });
    assert!(paths.iter().any(|path| path == "Cargo.toml"), "no files found in {}", root.display());
    let read = |path: String| Some(Text { text: std::fs::read_to_string(root.join(&path)).ok()?, path });
    paths.into_iter().filter_map(read).collect()
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    let names = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !names.is_empty())
        .then(|| names.split_terminator('\0').map(str::to_owned).collect())
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && name != ".git" && !name.starts_with("target") {
            walk(root, &path, paths);
        } else if kind.is_file() {
            paths.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Says that a check was not done, where the test runner doesn't capture it.
fn skipped(check: &str, reason: &str) {
    let mut uncaptured = std::io::stderr();
    writeln!(uncaptured, "skipped: {check}: {reason}").unwrap();
}

fn rust(texts: &[Text]) -> impl Iterator<Item = &Text> {
    texts.iter().filter(|file| file.path.ends_with(".rs"))
}

fn manifests(texts: &[Text]) -> impl Iterator<Item = &Text> {
    texts.iter().filter(|file| file.path.ends_with("/Cargo.toml") && !file.path.starts_with("tests/"))
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let texts = texts();
    let complaints = rust(&texts).flat_map(|file| [source::too_long(file), source::no_head(file)]);
    assert_none(&complaints.flatten().collect::<Vec<_>>());
}

#[test]
fn no_forbidden_word_is_used() {
    assert_none(&texts().iter().flat_map(source::forbidden_words).collect::<Vec<_>>());
}

#[test]
fn architecture_md_lists_where_unsafe_is_opened() {
    let texts = texts();
    let page = texts.iter().find(|file| file.path == "ARCHITECTURE.md").unwrap();
    assert_none(&source::unsafe_list(&page.text, rust(&texts)));
}

#[test]
fn crates_use_only_what_they_may() {
    let texts = texts();
    let of_manifests = manifests(&texts).flat_map(crates::forbidden_dependencies);
    let of_source = rust(&texts).flat_map(crates::forbidden_names);
    assert_none(&of_manifests.chain(of_source).collect::<Vec<_>>());
}

#[test]
fn the_compiler_chooses_by_architecture_only_where_it_may() {
    let texts = texts();
    let files = rust(&texts).chain(texts.iter().filter(|file| file.path.ends_with("Cargo.toml")));
    assert_none(&files.flat_map(crates::forbidden_choice).collect::<Vec<_>>());
}

#[test]
fn there_is_one_version_of_each_shared_crate() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert_none(&crates::several_versions(&lock));
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    match licences::metadata(&root()) {
        Ok(metadata) => assert_none(&licences::refused(&metadata)),
        Err(reason) => skipped("licences of dependencies", &reason),
    }
}
