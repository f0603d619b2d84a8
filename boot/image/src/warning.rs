//! What a launch goes on with, and its owner should know.

use crate::boot_mode::{BootMode, ImageBootMode};
use crate::describe::Image;
use crate::error::list;
use jiff::Timestamp;
use serde::Serialize;
use std::time::SystemTime;

/// A warning, by a code that scripts can look for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Warning {
    pub code: &'static str,
    pub message: String,
}

pub(crate) fn warn(code: &'static str, message: impl Into<String>) -> Warning {
    Warning { code, message: message.into() }
}

/// What the image's own members give cause to.
pub(crate) fn of_image(image: &Image, now: SystemTime, warnings: &mut Vec<Warning>) {
    let codes = image.product_codes.iter().flatten();
    let codes: Vec<_> = codes.filter_map(|code| code.product_code_id.clone()).collect();
    if !codes.is_empty() {
        let message = format!(
            "the image has the product code {}: EC2 launches it for subscribers only, and its licence holds here, too",
            list(&codes)
        );
        warnings.push(warn("ProductCodes", message));
    }
    let deprecated = image.deprecation_time.as_deref().filter(|time| passed(time, now));
    if let Some(time) = deprecated {
        let message = format!("the image is deprecated since {time}: its maker has newer ones");
        warnings.push(warn("DeprecationTime", message));
    }
    if let Some(version) = &image.tpm_support {
        let message = format!("TpmSupport is {version}, and this version of ami-run has no TPM");
        warnings.push(warn("TpmSupport", message));
    }
}

/// What became of the image's wishes for its start.
pub(crate) fn of_boot_mode(
    image: &Image,
    wanted: Option<ImageBootMode>,
    resolved: BootMode,
    warnings: &mut Vec<Warning>,
) {
    let said = image.boot_mode.as_deref();
    if let Some(wanted) = wanted.filter(|wanted| said != Some(wanted.to_string().as_str())) {
        let message = format!("--boot-mode {wanted}: the image says {}", said.unwrap_or("nothing of it"));
        warnings.push(warn("BootModeOverridden", message));
    }
    let wishes_uefi = said.is_some_and(|said| said.starts_with("uefi")) || image.tpm_support.is_some();
    if resolved == BootMode::LegacyBios && wishes_uefi {
        let message =
            "started by legacy-bios, the image has no Secure Boot, no UEFI variables and no NitroTPM";
        warnings.push(warn("UefiFeaturesOff", message));
    }
}

/// What cannot be read as a time is no reason to warn.
fn passed(time: &str, now: SystemTime) -> bool {
    let Ok(time) = time.parse::<Timestamp>() else { return false };
    SystemTime::from(time) <= now
}
