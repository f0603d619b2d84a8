//! EC2's ids. They become file names, so nothing may stand in them that leads out of a folder.

/// EC2's longest are 17 digits; examples and tests have other lengths.
const MAX_DIGITS: usize = 64;

/// True for `ami-` and letters or digits.
#[must_use]
pub fn is_image_id(id: &str) -> bool {
    is_id(id, "ami-")
}

/// True for `snap-` and letters or digits.
#[must_use]
pub fn is_snapshot_id(id: &str) -> bool {
    is_id(id, "snap-")
}

fn is_id(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| {
        (1..=MAX_DIGITS).contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_nothing_but_letters_and_digits() {
        for good in ["snap-1", "snap-0123456789abcdef0", "snap-1234567890EXAMPLE"] {
            assert!(is_snapshot_id(good), "{good}");
        }
        for bad in
            ["", "snap-", "ami-1", "snap-../../etc", "snap-1/2", "snap-1 ", "snap-é", "snap-1\0", "SNAP-1"]
        {
            assert!(!is_snapshot_id(bad), "{bad}");
        }
        assert!(is_image_id("ami-1") && !is_image_id("ami-1-2") && !is_image_id("snap-1"));
        assert!(
            is_image_id(&format!("ami-{}", "0".repeat(64)))
                && !is_image_id(&format!("ami-{}", "0".repeat(65)))
        );
    }
}
