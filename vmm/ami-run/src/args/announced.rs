//! `metadata-options` and `event`: their options.

use super::Output;
use crate::values;
use ami_run_catalog::control::MAINTENANCE_CODES;
use clap::builder::PossibleValuesParser;
use clap::{Parser, ValueEnum};
use std::time::Duration;

const OPTIONS: &str = "\
Examples:
  ami-run metadata-options web --http-tokens required
  ami-run metadata-options web --http-endpoint disabled --output json

Exit codes:
  0  they are changed
  1  refused: there is no instance of this name, or it is terminated
  2  command line
  3  this computer can't: the process that runs the machine does not answer, or the record
     cannot be written
";

/// Change how an instance's metadata service answers, as EC2's ModifyInstanceMetadataOptions does.
///
/// Of an instance that runs it counts from the next answer on; tokens that it has given out stay good. What is not
/// named stays as it is.
#[derive(Parser, Debug)]
#[command(
    name = "ami-run metadata-options",
    override_usage = "ami-run metadata-options INSTANCE OPTIONS",
    no_binary_name = true,
    max_term_width = 100,
    after_help = OPTIONS,
    group = clap::ArgGroup::new("change").required(true).multiple(true)
)]
pub(crate) struct MetadataOptionsArgs {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,

    /// required: who asks without a token is refused; optional: who does not is answered
    #[arg(long, value_name = "WORD", value_parser = ["optional", "required"], group = "change")]
    pub(crate) http_tokens: Option<String>,

    /// Over how many hops the answer to a request for a token goes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64), group = "change")]
    pub(crate) http_put_response_hop_limit: Option<u8>,

    /// Whether anything is answered at all
    #[arg(long, value_name = "WORD", value_parser = ["disabled", "enabled"], group = "change")]
    pub(crate) http_endpoint: Option<String>,

    /// Whether it is answered at fd00:ec2::254, too
    #[arg(long, value_name = "WORD", value_parser = ["disabled", "enabled"], group = "change")]
    pub(crate) http_protocol_ipv6: Option<String>,

    /// Whether the instance's tags are among the metadata
    #[arg(long, value_name = "WORD", value_parser = ["disabled", "enabled"], group = "change")]
    pub(crate) instance_metadata_tags: Option<String>,

    /// What standard output is for; json has ModifyInstanceMetadataOptions' shape
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) output: Output,
}

const EVENT: &str = "\
Examples:
  ami-run event web spot-stop
  ami-run event web spot-terminate --in 30s
  ami-run event web maintenance system-reboot --in 1h
  ami-run event web maintenance system-reboot --cancel

Exit codes:
  0  it is announced, or taken back
  1  refused: there is no instance of this name, or it does not run
  2  command line
  3  this computer can't: the process that runs the machine does not answer
";

/// Announce something to an instance that runs, by its metadata, as EC2 would.
///
/// When its time has come, an interrupted Spot Instance is stopped, or terminated, as by `ami-run stop`; nothing here
/// hibernates, so spot-hibernate ends with a stop. Of maintenance and rebalance nothing follows but what the guest
/// makes of them. What was announced is forgotten when the instance stops.
#[derive(Parser, Debug)]
#[command(name = "ami-run event", no_binary_name = true, max_term_width = 100, after_help = EVENT)]
pub(crate) struct EventArgs {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,

    /// What is announced
    #[arg(value_name = "EVENT", value_enum)]
    pub(crate) kind: Kind,

    /// Of maintenance: what will be done
    #[arg(value_name = "CODE", value_parser = PossibleValuesParser::new(MAINTENANCE_CODES))]
    pub(crate) code: Option<String>,

    /// When it will happen: 90, 90s, 5m
    #[arg(long = "in", value_name = "DURATION", value_parser = values::duration, default_value = "2m")]
    pub(crate) within: Duration,

    /// Take it back
    #[arg(long)]
    pub(crate) cancel: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The Spot Instance will be stopped
    SpotStop,
    /// The Spot Instance will be terminated
    SpotTerminate,
    /// The Spot Instance will be hibernated
    SpotHibernate,
    /// It is recommended to go elsewhere
    Rebalance,
    /// A scheduled event, which has a CODE
    Maintenance,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::SpotStop => "spot-stop",
            Kind::SpotTerminate => "spot-terminate",
            Kind::SpotHibernate => "spot-hibernate",
            Kind::Rebalance => "rebalance",
            Kind::Maintenance => "maintenance",
        }
    }
}
