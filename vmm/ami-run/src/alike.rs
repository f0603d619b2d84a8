//! "Did you mean": the name that is most like a mistyped one.

use std::path::Path;

/// How alike a name must be to be suggested: one letter in three may differ.
const ENOUGH: f64 = 0.66;

/// The candidate whose last part, after any slash, is most like `wanted`.
pub(crate) fn most_alike<S: AsRef<str>>(wanted: &str, candidates: impl IntoIterator<Item = S>) -> Option<S> {
    let score = |candidate: &S| {
        let name = Path::new(candidate.as_ref()).file_name().unwrap_or_default().to_string_lossy();
        strsim::normalized_damerau_levenshtein(wanted, &name)
    };
    let scored = candidates.into_iter().map(|candidate| (score(&candidate), candidate));
    let (best, candidate) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best >= ENOUGH).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alike_is_suggested() {
        let names = ["launch", "images/image.json"];
        assert_eq!(most_alike("lunch", names), Some("launch"));
        assert_eq!(most_alike("imgae.json", names), Some("images/image.json"));
        assert_eq!(most_alike("quux", names), None);
        assert_eq!(most_alike("lunch", [""; 0]), None);
    }
}
