//! From [`Facts`] to what stands below a version: names, values, and from when to when each was there.

mod meta_data;
mod network;

pub use meta_data::partition;

use crate::facts::Facts;
use crate::options::MetadataOptions;
use crate::version::{FIRST, LATEST, Version};

/// What stands below a version.
#[derive(Debug)]
pub(crate) struct Tree(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: String,
    /// What its directory lists instead of the name.
    shown: Option<String>,
    since: Version,
    /// The last version that has it.
    until: Version,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Leaf(Leaf),
    Directory(Vec<Entry>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    Text(String),
    UserData,
    /// The identity document, signed in one of three ways.
    Signed(Form),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Signature,
    Pkcs7,
    Rsa2048,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Listing(String),
    Leaf(&'a Leaf),
}

impl Tree {
    /// `document`: the identity document; `signed`: there is somebody who signs it.
    pub(crate) fn new(facts: &Facts, options: &MetadataOptions, document: String, signed: bool) -> Tree {
        let dynamic = directory("dynamic", dynamic(facts, document, signed));
        let meta_data = directory("meta-data", meta_data::entries(facts, options));
        let user_data = facts
            .user_data
            .as_ref()
            .map(|_| Entry { node: Node::Leaf(Leaf::UserData), ..text("user-data", FIRST, String::new()) });
        // Alone among directories these are listed without a slash.
        let bare = |entry: Entry| Entry { shown: Some(entry.name.clone()), ..entry };
        Tree([dynamic, meta_data].map(bare).into_iter().chain(user_data).collect())
    }

    /// What a version has at a path.
    pub(crate) fn find(&self, path: &[String], version: Version) -> Option<Found<'_>> {
        let mut entries = &self.0;
        let mut path = path.iter();
        while let Some(name) = path.next() {
            let entry = entries.iter().find(|entry| entry.name == *name && entry.is_in(version))?;
            match &entry.node {
                Node::Directory(below) => entries = below,
                Node::Leaf(leaf) => return path.next().is_none().then_some(Found::Leaf(leaf)),
            }
        }
        let shown: Vec<_> = entries.iter().filter(|entry| entry.is_in(version)).map(Entry::listed).collect();
        Some(Found::Listing(shown.join("\n")))
    }
}

impl Entry {
    fn is_in(&self, version: Version) -> bool {
        (self.since..=self.until).contains(&version)
            && match &self.node {
                Node::Leaf(_) => true,
                Node::Directory(entries) => entries.iter().any(|entry| entry.is_in(version)),
            }
    }

    fn listed(&self) -> String {
        match (&self.shown, &self.node) {
            (Some(shown), _) => shown.clone(),
            (None, Node::Leaf(_)) => self.name.clone(),
            (None, Node::Directory(_)) => format!("{}/", self.name),
        }
    }
}

fn text(name: &str, since: Version, value: impl Into<String>) -> Entry {
    let node = Node::Leaf(Leaf::Text(value.into()));
    Entry { name: name.to_owned(), shown: None, since, until: LATEST, node }
}

/// A directory lists its entries by name, and is there while one of them is.
fn directory(name: &str, mut entries: Vec<Entry>) -> Entry {
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let node = Node::Directory(entries);
    Entry { name: name.to_owned(), shown: None, since: FIRST, until: LATEST, node }
}

/// One a line.
fn lines<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join("\n")
}

fn dynamic(facts: &Facts, document: String, signed: bool) -> Vec<Entry> {
    const SINCE: Version = 20090404;
    let mut identity = vec![text("document", SINCE, document)];
    if signed {
        for (name, form) in
            [("pkcs7", Form::Pkcs7), ("rsa2048", Form::Rsa2048), ("signature", Form::Signature)]
        {
            identity.push(Entry { node: Node::Leaf(Leaf::Signed(form)), ..text(name, SINCE, "") });
        }
    }
    let monitoring = if facts.monitoring { "enabled" } else { "disabled" };
    vec![
        directory("fws", vec![text("instance-monitoring", SINCE, monitoring)]),
        directory("instance-identity", identity),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let old = Entry { until: 20160902, ..text("b", FIRST, "one") };
        let numbered =
            Entry { shown: Some("0=key".to_owned()), ..directory("0", vec![text("k", FIRST, "v")]) };
        let late = directory("late", vec![text("x", 20210323, "")]);
        Tree(vec![
            directory("d", vec![late, text("b", 20180924, "two"), old, numbered]),
            text("t", FIRST, ""),
        ])
    }

    fn found(path: &[&str], version: Version) -> Option<String> {
        let path: Vec<_> = path.iter().map(|&name| name.to_owned()).collect();
        tree().find(&path, version).map(|found| match found {
            Found::Listing(listing) => listing,
            Found::Leaf(leaf) => format!("{leaf:?}"),
        })
    }

    #[test]
    fn a_version_has_what_was_there_then() {
        assert_eq!(found(&[], FIRST).as_deref(), Some("d/\nt"));
        assert_eq!(found(&["d"], FIRST).as_deref(), Some("0=key\nb"));
        assert_eq!(found(&["d"], 20180328).as_deref(), Some("0=key"));
        assert_eq!(found(&["d"], LATEST).as_deref(), Some("0=key\nb\nlate/"));
        assert_eq!(found(&["d", "b"], FIRST).as_deref(), Some("Text(\"one\")"));
        assert_eq!(found(&["d", "b"], LATEST).as_deref(), Some("Text(\"two\")"));
        for missing in [&["d", "late", "x"][..], &["d", "late"], &["e"], &["t", "x"], &["d", "0=key"]] {
            assert_eq!(found(missing, FIRST), None, "{missing:?}");
        }
    }
}
