//! What would go wrong with this disk on EC2 and here, from what is on it and what its image claims.

mod claims;
mod finding;
mod kernel;
mod layout;
mod loaders;

pub use claims::Claims;
pub use finding::{Code, Finding, Severity};

use crate::contents::{Contents, Depth};
use crate::guess::guess;
use ami_run_image::{Architecture, BootMode};

/// Judges a disk. Without claims (a disk file without an image) it is judged as [`guess`] would start it `here`.
/// Errors come first.
#[must_use]
pub fn lint(contents: &Contents, claims: Option<&Claims>, here: Architecture) -> Vec<Finding> {
    let mut found = Vec::new();
    let ways = Ways::new(contents, claims, here);
    layout::table(contents, &mut found);
    layout::firmware(contents, &ways, &mut found);
    if let Some(claims) = claims {
        claims.mode(&mut found);
        claims.mapping(&mut found);
    }
    if contents.depth == Depth::System {
        loaders::entries(contents, &ways, &mut found);
        kernel::machines(contents, ways.architecture, &mut found);
        kernel::console(contents, ways.architecture, &mut found);
        kernel::drivers(contents, claims.and_then(|claims| claims.ena_support), &mut found);
    }
    for unread in &contents.unread {
        let said = |finding: &Finding| finding.code == Code::EspUnreadable && finding.place == unread.place;
        if found.iter().any(said) {
            continue;
        }
        found.push(Finding {
            code: Code::NotLookedInto,
            severity: Severity::Information,
            place: unread.place.clone(),
            reason: format!("this was not looked into: {}", unread.why),
            remedy: "what is in there was not judged: its kernels, drivers and settings are yours to check"
                .to_owned(),
        });
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

/// Judges what can be judged without a disk: an image whose root cannot be found.
#[must_use]
pub fn lint_claims(claims: &Claims) -> Vec<Finding> {
    let mut found = Vec::new();
    claims.mode(&mut found);
    claims.mapping(&mut found);
    found
}

/// How EC2 would start the disk.
struct Ways {
    architecture: Architecture,
    /// Tried where the type can.
    first: BootMode,
    /// What an image that prefers UEFI falls back to, on types without it.
    fallback: Option<BootMode>,
    /// The image says nothing of its boot mode.
    silent: bool,
}

impl Ways {
    /// The table of EC2's boot modes.
    fn new(contents: &Contents, claims: Option<&Claims>, here: Architecture) -> Ways {
        let guess = guess(contents, here);
        let Some(claims) = claims else {
            let (architecture, first) = (guess.architecture, guess.boot_mode);
            return Ways { architecture, first, fallback: None, silent: false };
        };
        let architecture = claims.architecture.unwrap_or(guess.architecture);
        let (first, fallback) = match (architecture, claims.boot_mode.as_deref()) {
            (Architecture::Arm64, _) | (_, Some("uefi")) => (BootMode::Uefi, None),
            (_, Some("uefi-preferred")) => (BootMode::Uefi, Some(BootMode::LegacyBios)),
            _ => (BootMode::LegacyBios, None),
        };
        Ways { architecture, first, fallback, silent: claims.boot_mode.is_none() }
    }
}
