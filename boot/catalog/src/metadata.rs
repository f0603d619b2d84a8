//! ModifyInstanceMetadataOptions: what may be changed of how an instance's metadata are answered.

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::record::{InstanceRecord, MetadataOptions};
use crate::state::State;
use ami_run_image::MetadataChange;

/// What tags' keys are made of, besides letters and digits, when they are names in a tree.
const IN_KEYS: &str = "-_+=,.@:";

/// Refuses a tag that cannot stand among the metadata, in EC2's words.
pub fn check_metadata_tag(key: &str) -> Result<(), String> {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || IN_KEYS.contains(c));
    if plain && ![".", "..", "_index"].contains(&key) {
        return Ok(());
    }
    Err(format!(
        "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be \
         a reserved name ('.', '..', '_index')"
    ))
}

/// What an instance's options are after this change.
pub fn changed_metadata(
    record: &InstanceRecord,
    change: &MetadataChange,
) -> Result<MetadataOptions, CatalogError> {
    let id = &record.instance_id;
    if matches!(record.state, State::ShuttingDown | State::Terminated) {
        return Err(CatalogError::incorrect_state(id, record.state, "modified"));
    }
    let options = record.metadata_options.options.changed(change).map_err(|refusal| {
        let failure = CatalogError::refused(refusal.code, refusal.message);
        refusal.hint.into_iter().fold(failure, CatalogError::hint)
    })?;
    let keys = record.tags.iter().filter_map(|tag| tag.key.as_deref());
    if options.instance_metadata_tags == "enabled" {
        keys.into_iter()
            .try_for_each(check_metadata_tag)
            .map_err(|message| CatalogError::refused("InvalidParameterValue", message))?;
    }
    Ok(options.into())
}

impl Catalog {
    /// The same, of an instance whose machine does not run.
    pub fn modify_metadata(
        &self,
        id: &str,
        change: &MetadataChange,
    ) -> Result<MetadataOptions, CatalogError> {
        let mut held = self.hold(id)?;
        let options = changed_metadata(held.record(), change)?;
        held.change(|record| record.metadata_options.clone_from(&options))?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{catalog, code, stopped};
    use ami_run_image::Tag;

    #[test]
    fn a_stopped_instance_s_options_are_changed_in_its_record() {
        let (_folder, catalog) = catalog();
        let (id, _) = stopped(&catalog);
        let required = Some("required".to_owned());
        let change = MetadataChange { http_tokens: required.clone(), ..MetadataChange::default() };
        let options = catalog.modify_metadata(&id, &change).unwrap();
        assert_eq!(
            (options.state.as_str(), Some(&options.options.http_tokens)),
            ("applied", required.as_ref())
        );
        assert_eq!(catalog.describe(&id).unwrap().metadata_options, options);
        let change = MetadataChange { http_put_response_hop_limit: Some(65), ..MetadataChange::default() };
        assert_eq!(code(catalog.modify_metadata(&id, &change)), "InvalidParameterValue");
        assert_eq!(catalog.describe(&id).unwrap().metadata_options, options);
        catalog.terminate_stopped(&id).unwrap();
        assert_eq!(code(catalog.modify_metadata(&id, &change)), "IncorrectInstanceState");
    }

    #[test]
    fn tags_that_are_no_names_are_not_shown() {
        let (_folder, catalog) = catalog();
        let (id, _) = stopped(&catalog);
        let key = Some("a/b".to_owned());
        let tag = Tag { key, value: Some(String::new()), ..Tag::default() };
        catalog.hold(&id).unwrap().change(|record| record.tags.push(tag)).unwrap();
        let enabled = Some("enabled".to_owned());
        let change = MetadataChange { instance_metadata_tags: enabled, ..MetadataChange::default() };
        assert_eq!(code(catalog.modify_metadata(&id, &change)), "InvalidParameterValue");
        catalog.hold(&id).unwrap().change(|record| record.tags.clear()).unwrap();
        assert!(catalog.modify_metadata(&id, &change).is_ok());
    }
}
