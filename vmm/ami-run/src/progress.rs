//! How far a guest came, as the end of its run tells it: in words where that explains something, and for programs.

use crate::explain::{Explanation, Progress, Standing};
use crate::ui;
use ami_run_machine::{Reached, Stage as Sign};
use serde::Serialize;
use std::time::Instant;

/// `Stage` of the result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Stage {
    /// The last one that was reached, since the last reset.
    name: &'static str,
    resets: u32,
    signs: Signs,
    /// Of the boot disk, in blocks of 512 bytes, until a kernel's driver took it.
    blocks_read: u64,
    last_block: Option<u64>,
    /// Of a guest that said nothing for too long.
    explanation: Option<Vec<String>>,
    /// It is told in words, too.
    #[serde(skip)]
    is_told: bool,
}

/// In seconds since the command began.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Signs {
    firmware_began: Option<f64>,
    tables_read: Option<f64>,
    first_block_read: Option<f64>,
    further_block_read: Option<f64>,
    devices_released: Option<f64>,
    disk_taken: Option<f64>,
    power_managed: Option<f64>,
}

impl Stage {
    /// `timed_out`: the run ended so, and is explained if it can be.
    pub(crate) fn of(progress: &Progress, timed_out: bool) -> Stage {
        let Progress { way, reached, said, explained } = progress;
        let explanation = explained.as_ref().map(Explanation::lines);
        Stage {
            name: Standing::of(*way, reached, said).name(),
            resets: reached.resets,
            signs: Signs::of(reached),
            blocks_read: reached.blocks,
            last_block: reached.last_read.map(|_| reached.last_block),
            explanation,
            is_told: timed_out,
        }
    }

    /// Why the guest was silent, if it was so up to the end of its time; else nothing.
    pub(crate) fn silence(&self) -> &[String] {
        self.explanation.as_deref().filter(|_| self.is_told).unwrap_or_default()
    }
}

impl Signs {
    fn of(reached: &Reached) -> Signs {
        let since = |at: Instant| {
            let seconds = at.saturating_duration_since(ui::start()).as_secs_f64();
            (seconds * 1000.0).round() / 1000.0
        };
        let at = |sign| reached.at(sign).map(since);
        Signs {
            firmware_began: at(Sign::FirmwareBegan),
            tables_read: at(Sign::TablesRead),
            first_block_read: at(Sign::FirstBlockRead),
            further_block_read: at(Sign::FurtherBlockRead),
            devices_released: at(Sign::Released),
            disk_taken: at(Sign::DiskTaken),
            power_managed: at(Sign::PowerManaged),
        }
    }
}
