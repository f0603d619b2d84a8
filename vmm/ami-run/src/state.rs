//! The state folder: where images, snapshots and instances will be kept, and what was taken out of disk files is.

use std::ffi::OsString;
use std::path::PathBuf;

/// AMI_RUN_STATE_DIR, or else the user's data folder as the XDG base directory specification has it, which ignores
/// a relative XDG_DATA_HOME. None where there is not even a home.
pub(crate) fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let named = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("AMI_RUN_STATE_DIR").or_else(|| {
        let data = named("XDG_DATA_HOME").filter(|path| path.is_absolute());
        Some(data.or_else(|| named("HOME").map(|home| home.join(".local/share")))?.join("ami-run"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_wins() {
        let set: &[(&str, &str)] =
            &[("HOME", "/u"), ("XDG_DATA_HOME", "/data"), ("AMI_RUN_STATE_DIR", "state")];
        let with = |count: usize| {
            folder(|name| set[..count].iter().find(|(set, _)| *set == name).map(|(_, value)| value.into()))
        };
        assert_eq!(with(0), None);
        assert_eq!(with(1), Some(PathBuf::from("/u/.local/share/ami-run")));
        assert_eq!(with(2), Some(PathBuf::from("/data/ami-run")));
        assert_eq!(with(3), Some(PathBuf::from("state")));
        let odd = |name: &str| match name {
            "HOME" => Some("/h".into()),
            "XDG_DATA_HOME" => Some("relative".into()),
            _ => Some("".into()),
        };
        assert_eq!(folder(odd), Some(PathBuf::from("/h/.local/share/ami-run")));
    }
}
