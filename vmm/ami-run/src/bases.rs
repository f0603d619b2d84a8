//! The disk files that a command reads: each is opened once, however often the command comes back to it, and one that
//! is unpacked first is shown coming.

use crate::disks::top_folder;
use crate::{state, ui};
use ami_run_storage::{Base, CacheFolder, Progress, StorageError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What takes no longer is not worth a line.
const SHORT: Duration = Duration::from_secs(1);
/// How long a line stands where each takes a line of its own.
const STANDS: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(crate) struct Bases(Vec<(PathBuf, Base)>);

impl Bases {
    /// Opens a disk file, or shares what was opened before.
    pub(crate) fn open(&mut self, path: &Path) -> Result<Base, StorageError> {
        if let Some((_, base)) = self.0.iter().find(|(known, _)| known == path) {
            return Ok(base.clone());
        }
        let base = open(path)?;
        self.0.push((path.to_owned(), base.clone()));
        Ok(base)
    }

    /// Every file that is read.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.0.iter().flat_map(|(_, base)| base.files()).collect()
    }
}

/// Opens one disk file.
pub(crate) fn open(path: &Path) -> Result<Base, StorageError> {
    let mut show = Show::new(path);
    let base = Base::open_any(path, &cache(), &mut |progress| show.progress(progress));
    show.end(base.is_ok());
    base
}
/// In the state folder; where that is somebody else's, for this process alone.
fn cache() -> CacheFolder {
    match state::folder() {
        Ok(folder) => CacheFolder::Shared(folder.join("cache")),
        Err(_) => CacheFolder::Private(top_folder()),
    }
}

/// How far the unpacking of a disk file is.
struct Show<'a> {
    path: &'a Path,
    started: Instant,
    /// When the last line was shown.
    shown: Option<Instant>,
    /// How long a line stands.
    stands: Duration,
}

impl Show<'_> {
    fn new(path: &Path) -> Show<'_> {
        let stands = if ui::can_replace() { SHORT } else { STANDS };
        Show { path, started: Instant::now(), shown: None, stands }
    }

    fn progress(&mut self, progress: Progress) {
        if let Some(line) = self.line(progress, Instant::now()) {
            ui::passing("unpacking", &line);
        }
    }

    /// None: the last one stands, or nobody has waited for long.
    fn line(&mut self, progress: Progress, now: Instant) -> Option<String> {
        let (since, stands) = self.shown.map_or((self.started, SHORT), |shown| (shown, self.stands));
        if now.duration_since(since) < stands {
            return None;
        }
        self.shown = Some(now);
        let how_far = match progress.of {
            0 => String::new(),
            of => format!(": {} % of {} MiB", progress.read.saturating_mul(100) / of, of.div_ceil(1 << 20)),
        };
        let by = if progress.elsewhere { ", by another process" } else { "" };
        Some(format!("{}{how_far}{by}", self.path.display()))
    }

    fn end(self, done: bool) {
        if done && self.shown.is_some() {
            ui::status("unpacked", &format!("{}, for this use and later ones", self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_unpacking_is_shown_now_and_then() {
        let mut show = Show::new(Path::new("d.raw.xz"));
        show.stands = STANDS;
        let start = show.started;
        let mut at = |seconds, read, elsewhere| {
            let progress = Progress { read, of: 300 << 20, elsewhere };
            show.line(progress, start + Duration::from_millis(seconds))
        };
        assert_eq!(at(999, 1 << 20, false), None);
        assert_eq!(at(1000, 3 << 20, false).unwrap(), "d.raw.xz: 1 % of 300 MiB");
        assert_eq!(at(15_999, 3 << 20, false), None);
        assert_eq!(at(16_000, 150 << 20, true).unwrap(), "d.raw.xz: 50 % of 300 MiB, by another process");
        assert_eq!(at(16_001, 150 << 20, false), None);
        let nobody_knows = Progress { read: 0, of: 0, elsewhere: true };
        let line = show.line(nobody_knows, start + Duration::from_secs(60));
        assert_eq!(line.unwrap(), "d.raw.xz, by another process");
    }
}
