//! How the metadata service answers: RunInstances' MetadataOptions, and what changes them.

use crate::refusal::{Refusal, code};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

const HOP_LIMITS: RangeInclusive<u64> = 1..=64;

/// In EC2's words, so that a record has them as DescribeInstances does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetadataOptions {
    /// `optional` or `required`.
    pub http_tokens: String,
    pub http_put_response_hop_limit: u8,
    /// `enabled` or `disabled`, as all that follow.
    pub http_endpoint: String,
    pub http_protocol_ipv6: String,
    pub instance_metadata_tags: String,
}

impl Default for MetadataOptions {
    /// What an image without ImdsSupport has.
    fn default() -> MetadataOptions {
        MetadataOptions {
            http_tokens: "optional".to_owned(),
            http_put_response_hop_limit: 1,
            http_endpoint: "enabled".to_owned(),
            http_protocol_ipv6: "disabled".to_owned(),
            instance_metadata_tags: "disabled".to_owned(),
        }
    }
}

/// ModifyInstanceMetadataOptions' request; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MetadataChange {
    pub http_tokens: Option<String>,
    pub http_put_response_hop_limit: Option<u64>,
    pub http_endpoint: Option<String>,
    pub http_protocol_ipv6: Option<String>,
    pub instance_metadata_tags: Option<String>,
}

impl MetadataOptions {
    /// These, changed; or what is wrong with the change.
    pub fn changed(&self, change: &MetadataChange) -> Result<MetadataOptions, Refusal> {
        let hop_limit = match change.http_put_response_hop_limit {
            None => self.http_put_response_hop_limit,
            Some(limit) => u8::try_from(limit)
                .ok()
                .filter(|_| HOP_LIMITS.contains(&limit))
                .ok_or_else(|| invalid("HttpPutResponseHopLimit", limit, "a number from 1 to 64"))?,
        };
        let switch = |name, to: &Option<String>, from: &str| word(name, to, from, ["disabled", "enabled"]);
        Ok(MetadataOptions {
            http_tokens: word(
                "HttpTokens",
                &change.http_tokens,
                &self.http_tokens,
                ["optional", "required"],
            )?,
            http_put_response_hop_limit: hop_limit,
            http_endpoint: switch("HttpEndpoint", &change.http_endpoint, &self.http_endpoint)?,
            http_protocol_ipv6: switch(
                "HttpProtocolIpv6",
                &change.http_protocol_ipv6,
                &self.http_protocol_ipv6,
            )?,
            instance_metadata_tags: switch(
                "InstanceMetadataTags",
                &change.instance_metadata_tags,
                &self.instance_metadata_tags,
            )?,
        })
    }
}

fn word(name: &str, to: &Option<String>, from: &str, known: [&str; 2]) -> Result<String, Refusal> {
    match to.as_deref() {
        None => Ok(from.to_owned()),
        Some(word) if known.contains(&word) => Ok(word.to_owned()),
        Some(word) => Err(invalid(name, word, &known.join(" or "))),
    }
}

fn invalid(name: &str, value: impl std::fmt::Display, wanted: &str) -> Refusal {
    let message = format!("Value ({value}) for parameter {name} is invalid.");
    Refusal::new(code::INVALID_VALUE, "", message).hint(format!("give {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let before = MetadataOptions::default();
        assert_eq!(before.changed(&MetadataChange::default()).unwrap(), before);
        let change = MetadataChange {
            http_tokens: Some("required".to_owned()),
            http_put_response_hop_limit: Some(64),
            ..MetadataChange::default()
        };
        let wanted = MetadataOptions {
            http_tokens: "required".to_owned(),
            http_put_response_hop_limit: 64,
            ..before.clone()
        };
        assert_eq!(before.changed(&change).unwrap(), wanted);
    }

    #[test]
    fn what_ec2_would_refuse_is_refused() {
        for (name, value) in [("HttpPutResponseHopLimit", "0"), ("HttpPutResponseHopLimit", "65")] {
            let limit = value.parse().ok();
            let change = MetadataChange { http_put_response_hop_limit: limit, ..MetadataChange::default() };
            let refused = MetadataOptions::default().changed(&change).unwrap_err();
            assert_eq!(refused.message, format!("Value ({value}) for parameter {name} is invalid."));
        }
        let yes = Some("yes".to_owned());
        let nothing = MetadataChange::default();
        for change in [
            MetadataChange { http_tokens: yes.clone(), ..nothing.clone() },
            MetadataChange { http_endpoint: yes.clone(), ..nothing.clone() },
            MetadataChange { http_protocol_ipv6: yes.clone(), ..nothing.clone() },
            MetadataChange { instance_metadata_tags: yes, ..nothing },
        ] {
            assert!(MetadataOptions::default().changed(&change).is_err(), "{change:?}");
        }
    }
}
