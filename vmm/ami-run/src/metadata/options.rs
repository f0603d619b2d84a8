//! `--metadata-options`: RunInstances' MetadataOptions, in the AWS CLI's shorthand or JSON.

use crate::exit::Code;
use crate::failure::Failure;
use ami_run_image::{MetadataChange, MetadataOptions, code};
use serde_json::{Map, Value};

/// What the image brings, and over it what was typed.
pub(crate) fn read(typed: Option<&str>, image: &MetadataOptions) -> Result<MetadataOptions, Failure> {
    let mut change = MetadataChange::default();
    for (name, value) in members(typed.unwrap_or_default())? {
        match name.as_str() {
            "HttpTokens" => change.http_tokens = Some(value),
            "HttpEndpoint" => change.http_endpoint = Some(value),
            "HttpProtocolIpv6" => change.http_protocol_ipv6 = Some(value),
            "InstanceMetadataTags" => change.instance_metadata_tags = Some(value),
            "HttpPutResponseHopLimit" => {
                let limit = value.parse().map_err(|_| {
                    let message = format!("Value ({value}) for parameter {name} is invalid.");
                    refuse(code::INVALID_VALUE, &message).hint("give a number from 1 to 64")
                })?;
                change.http_put_response_hop_limit = Some(limit);
            }
            _ => {
                let message = format!("--metadata-options: there is no member {name}");
                return Err(Failure::new(Code::CommandLine, message).hint(
                    "there are HttpTokens, HttpPutResponseHopLimit, HttpEndpoint, HttpProtocolIpv6 and \
                     InstanceMetadataTags",
                ));
            }
        }
    }
    image.changed(&change).map_err(|refusal| {
        let failure = refuse(refusal.code, &refusal.message);
        refusal.hint.into_iter().fold(failure, Failure::hint)
    })
}

/// As the service's core has them. What is in no record of ours is not required, and off.
pub(crate) fn of(options: &MetadataOptions) -> ami_run_metadata::MetadataOptions {
    ami_run_metadata::MetadataOptions {
        tokens_required: options.http_tokens == "required",
        hop_limit: options.http_put_response_hop_limit,
        endpoint: options.http_endpoint == "enabled",
        ipv6: options.http_protocol_ipv6 == "enabled",
        tags: options.instance_metadata_tags == "enabled",
    }
}

fn refuse(code: &'static str, message: &str) -> Failure {
    Failure::new(Code::CommandLine, format!("--metadata-options: {message}")).ec2(code, message)
}

fn members(typed: &str) -> Result<Vec<(String, String)>, Failure> {
    let unreadable =
        |why: &str| Failure::new(Code::CommandLine, format!("--metadata-options cannot be read: {why}"));
    let text = typed.trim();
    if text.starts_with('{') {
        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|cause| unreadable(&cause.to_string()))?;
        let plain = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return Ok(object.into_iter().map(|(name, value)| (name, plain(value))).collect());
    }
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| unreadable(&format!("{pair} is no NAME=VALUE")))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_metadata::MetadataOptions as Core;

    fn image() -> MetadataOptions {
        MetadataOptions {
            http_tokens: "required".to_owned(),
            http_put_response_hop_limit: 2,
            ..MetadataOptions::default()
        }
    }

    fn told(typed: Option<&str>) -> Core {
        of(&read(typed, &image()).unwrap())
    }

    #[test]
    fn what_is_typed_goes_over_what_the_image_brings() {
        let image = Core { tokens_required: true, hop_limit: 2, ..Core::default() };
        assert_eq!(told(None), image);
        let typed = "HttpTokens=optional, HttpPutResponseHopLimit=64,InstanceMetadataTags=enabled";
        let wanted = Core { tokens_required: false, hop_limit: 64, tags: true, ..image };
        assert_eq!(told(Some(typed)), wanted);
        let json =
            r#"{"HttpTokens": "optional", "HttpPutResponseHopLimit": 64, "InstanceMetadataTags": "enabled"}"#;
        assert_eq!(told(Some(json)), wanted);
        let off = told(Some("HttpEndpoint=disabled,HttpProtocolIpv6=enabled"));
        assert_eq!(off, Core { endpoint: false, ipv6: true, ..image });
    }

    #[test]
    fn what_ec2_would_refuse_is_refused_with_its_code() {
        for bad in [
            "HttpPutResponseHopLimit=0",
            "HttpPutResponseHopLimit=65",
            "HttpPutResponseHopLimit=x",
            "HttpTokens=yes",
        ] {
            let refused = read(Some(bad), &image()).unwrap_err();
            let (name, value) = bad.split_once('=').unwrap();
            let ec2 = refused.ec2.unwrap();
            assert_eq!(ec2.message, format!("Value ({value}) for parameter {name} is invalid."));
            assert_eq!((refused.code, ec2.code.as_str()), (Code::CommandLine, "InvalidParameterValue"));
        }
        for bad in ["HttpToken=required", "HttpTokens", "{", "[]", "{\"HttpTokens\": 1}"] {
            assert!(read(Some(bad), &image()).is_err(), "{bad}");
        }
    }
}
