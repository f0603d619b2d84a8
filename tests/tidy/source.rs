//! Checks of single source files: length, head, words, and where unsafe code is opened.

use crate::Text;
use std::collections::BTreeSet;

const MAX_LINES: usize = 600;

pub(crate) fn too_long(file: &Text) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > MAX_LINES)
        .then(|| format!("{}:{lines}: more than {MAX_LINES} lines: split it by question", file.path))
}

pub(crate) fn no_head(file: &Text) -> Option<String> {
    (!file.text.starts_with("//!"))
        .then(|| format!("{}:1: no `//!` head that says what the file is for", file.path))
}

const UNFINISHED: &str = "finish it, or say as a fact what is left out";
const ONE_MACHINE: &str = "a path of one machine";

/// What no file holds. Written in halves, so that this file doesn't hold it either.
const WORDS: &[(&str, &str)] = &[
    (concat!("FIX", "ME"), UNFINISHED),
    (concat!("XX", "X"), UNFINISHED),
    (concat!("TO", "DO"), UNFINISHED),
    (concat!("todo", "!"), UNFINISHED),
    (concat!("/ho", "me/"), ONE_MACHINE),
    (concat!("/ro", "ot/"), ONE_MACHINE),
    (concat!("/wo", "rk/"), ONE_MACHINE),
];

/// Words of the design's own pictures, which its readers know and the README's don't.
const PICTURES: &[&str] = &["room", "rooms", "house", "seam", "seams", "door", "doors"];

pub(crate) fn forbidden_words(file: &Text) -> Vec<String> {
    // An init has a whole machine for itself: every path in it is its own.
    let own_machine = file.path.ends_with("/init");
    let mut complaints = Vec::new();
    let mut check = |word: &str, why: &str, number: usize, line: &str| {
        if has_word(line, word) {
            complaints.push(format!("{}:{}: {word}: {why}", file.path, number.saturating_add(1)));
        }
    };
    for (number, line) in file.text.lines().enumerate() {
        for (word, why) in WORDS.iter().filter(|(_, why)| !(own_machine && *why == ONE_MACHINE)) {
            check(word, why, number, line);
        }
        if file.path == "README.md" {
            for word in PICTURES {
                check(word, "say crate, folder or interface", number, &line.to_lowercase());
            }
        }
    }
    complaints
}

/// True if `word` stands in the line with no letter or digit before or, where it ends in one itself, behind it. A
/// path counts only where it begins: `$DIR/home/` is somebody else's.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let glued_before =
            before.ends_with(|c: char| part_of_word(c) || (word.starts_with('/') && "})./".contains(c)));
        let glued_behind =
            word.ends_with(part_of_word) && rest.replacen(word, "", 1).starts_with(part_of_word);
        !glued_before && !glued_behind
    })
}

/// Compares the list of ARCHITECTURE.md (`- \`path\`: why`, under the heading that names unsafe) with the product's
/// files that open it.
pub(crate) fn unsafe_list<'a>(page: &str, files: impl Iterator<Item = &'a Text>) -> Vec<String> {
    let section = page.split("\n## ").find(|section| section.lines().next().unwrap_or("").contains("unsafe"));
    let listed: BTreeSet<&str> = section
        .unwrap_or("")
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once('`'))
        .map(|(path, _)| path)
        .collect();
    let opened: BTreeSet<&str> = files
        .filter(|file| !file.path.starts_with("tests/"))
        .filter(|file| file.text.contains("expect(unsafe_code") || file.text.contains("allow(unsafe_code"))
        .map(|file| file.path.as_str())
        .collect();
    let missing = opened
        .difference(&listed)
        .map(|path| format!("{path}:1: opens unsafe, but ARCHITECTURE.md doesn't list it"));
    let stale = listed
        .difference(&opened)
        .map(|path| format!("ARCHITECTURE.md: lists {path}, which opens no unsafe"));
    missing.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Text {
        Text { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_long_file_and_one_without_a_head_are_found() {
        assert_eq!(too_long(&file("a.rs", &"x\n".repeat(600))), None);
        assert!(too_long(&file("a.rs", &"x\n".repeat(601))).unwrap().starts_with("a.rs:601: "));
        assert_eq!(no_head(&file("a.rs", "//! What it is.\n")), None);
        assert!(no_head(&file("a.rs", "use std::io;\n//! Late.\n")).is_some());
    }

    #[test]
    fn forbidden_words_are_found_where_they_stand() {
        let found = |path: &str, text: &str| forbidden_words(&file(path, text)).len();
        for (word, _) in WORDS {
            assert_eq!(found("a.sh", &format!("fine\n# {word} x")), 1, "{word}");
            let complaints = forbidden_words(&file("a.sh", &format!("fine\n({word}x")));
            let whole_word = word.ends_with(char::is_alphanumeric);
            assert_eq!(complaints.len(), usize::from(!whole_word), "{word}");
        }
        assert!(forbidden_words(&file("a.sh", &format!("\n{}", WORDS[0].0)))[0].starts_with("a.sh:2: "));
        assert_eq!(found("a.sh", &format!("mktemp x.{}", "X".repeat(6))), 0);
        assert_eq!(found("a.sh", &format!("$DIR{0} and ${{DIR}}{0} and lib{0}", WORDS[4].0)), 0);
        assert_eq!(found("guests/init", WORDS[4].0), 0);
        assert_eq!(found("README.md", "The Room has rooms, and room-mates."), 2);
        assert_eq!(found("README.md", "mushroom outdoors"), 0);
        assert_eq!(found("notes.md", "a room"), 0);
    }

    #[test]
    fn the_unsafe_list_must_be_neither_short_nor_long() {
        let page = "# P\n\n## Where unsafe is opened\n- `a/src/x.rs`: mmap\n- `a/src/y.rs`: ioctl\n\n## Next\n- `z.rs`: no\n";
        let opens = "#![expect(unsafe_code, reason = \"mmap\")]";
        let files = [file("a/src/x.rs", opens), file("b/src/new.rs", opens), file("tests/t.rs", opens)];
        let complaints = unsafe_list(page, files.iter());
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].starts_with("b/src/new.rs:1: "));
        assert!(complaints[1].contains("a/src/y.rs"));
        assert_eq!(unsafe_list("no such section", files[..1].iter()).len(), 1);
    }
}
