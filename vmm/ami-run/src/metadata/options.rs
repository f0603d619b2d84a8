//! `--metadata-options`: RunInstances' MetadataOptions, in the AWS CLI's shorthand or JSON.

use crate::exit::Code;
use crate::failure::Failure;
use ami_run_image::code;
use ami_run_metadata::MetadataOptions;
use serde_json::{Map, Value};

const HOP_LIMITS: std::ops::RangeInclusive<u8> = 1..=64;

/// What the image brings, and over it what was typed.
pub(crate) fn read(
    typed: Option<&str>,
    image: &ami_run_image::MetadataOptions,
) -> Result<MetadataOptions, Failure> {
    let mut options = MetadataOptions {
        tokens_required: image.http_tokens == "required",
        hop_limit: image.http_put_response_hop_limit,
        endpoint: image.http_endpoint == "enabled",
        ipv6: image.http_protocol_ipv6 == "enabled",
        tags: image.instance_metadata_tags == "enabled",
    };
    for (name, value) in members(typed.unwrap_or_default())? {
        match name.as_str() {
            "HttpTokens" => options.tokens_required = one_of(&name, &value, ["optional", "required"])?,
            "HttpEndpoint" => options.endpoint = enabled(&name, &value)?,
            "HttpProtocolIpv6" => options.ipv6 = enabled(&name, &value)?,
            "InstanceMetadataTags" => options.tags = enabled(&name, &value)?,
            "HttpPutResponseHopLimit" => {
                let limit = value.parse().ok().filter(|limit| HOP_LIMITS.contains(limit));
                options.hop_limit = limit.ok_or_else(|| invalid(&name, &value, "a number from 1 to 64"))?;
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
    Ok(options)
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

fn enabled(name: &str, value: &str) -> Result<bool, Failure> {
    one_of(name, value, ["disabled", "enabled"])
}

/// Whether it is the second.
fn one_of(name: &str, value: &str, [first, second]: [&str; 2]) -> Result<bool, Failure> {
    match value {
        _ if value == first => Ok(false),
        _ if value == second => Ok(true),
        _ => Err(invalid(name, value, &format!("{first} or {second}"))),
    }
}

fn invalid(name: &str, value: &str, wanted: &str) -> Failure {
    let message = format!("Value ({value}) for parameter {name} is invalid.");
    Failure::new(Code::CommandLine, format!("--metadata-options: {message}"))
        .hint(format!("give {wanted}"))
        .ec2(code::INVALID_VALUE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: ami_run_image::MetadataOptions = ami_run_image::MetadataOptions {
        http_tokens: "required",
        http_put_response_hop_limit: 2,
        http_endpoint: "enabled",
        http_protocol_ipv6: "disabled",
        instance_metadata_tags: "disabled",
    };

    #[test]
    fn what_is_typed_goes_over_what_the_image_brings() {
        let image = MetadataOptions { tokens_required: true, hop_limit: 2, ..MetadataOptions::default() };
        assert_eq!(read(None, &IMAGE).unwrap(), image);
        let typed = "HttpTokens=optional, HttpPutResponseHopLimit=64,InstanceMetadataTags=enabled";
        let wanted = MetadataOptions { tokens_required: false, hop_limit: 64, tags: true, ..image };
        assert_eq!(read(Some(typed), &IMAGE).unwrap(), wanted);
        let json =
            r#"{"HttpTokens": "optional", "HttpPutResponseHopLimit": 64, "InstanceMetadataTags": "enabled"}"#;
        assert_eq!(read(Some(json), &IMAGE).unwrap(), wanted);
        let off = read(Some("HttpEndpoint=disabled,HttpProtocolIpv6=enabled"), &IMAGE).unwrap();
        assert_eq!(off, MetadataOptions { endpoint: false, ipv6: true, ..image });
    }

    #[test]
    fn what_ec2_would_refuse_is_refused_with_its_code() {
        for bad in ["HttpPutResponseHopLimit=0", "HttpPutResponseHopLimit=65", "HttpTokens=yes"] {
            let refused = read(Some(bad), &IMAGE).unwrap_err();
            let (name, value) = bad.split_once('=').unwrap();
            let ec2 = refused.ec2.unwrap();
            assert_eq!(ec2.message, format!("Value ({value}) for parameter {name} is invalid."));
            assert_eq!((refused.code, ec2.code.as_str()), (Code::CommandLine, "InvalidParameterValue"));
        }
        for bad in ["HttpToken=required", "HttpTokens", "{", "[]", "{\"HttpTokens\": 1}"] {
            assert!(read(Some(bad), &IMAGE).is_err(), "{bad}");
        }
    }
}
