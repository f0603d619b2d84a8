//! `metadata-options` and `event`: how an instance's metadata are answered, and what they announce.

use super::{Asked, ask, refused, run};
use crate::answer;
use crate::args::{EventArgs, Kind, MetadataOptionsArgs};
use crate::exit::Code;
use crate::failure::Failure;
use ami_run_catalog::control::{Action, Event, Outcome};
use ami_run_catalog::{Catalog, InstanceRecord, MetadataOptions, Step, changed_metadata};
use ami_run_image::MetadataChange;
use serde::Serialize;

/// ModifyInstanceMetadataOptions' result.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Modified {
    instance_id: String,
    instance_metadata_options: MetadataOptions,
}

/// Changes them, and says what they are now.
pub(crate) fn metadata_options(args: &MetadataOptionsArgs) -> Code {
    let change = MetadataChange {
        http_tokens: args.http_tokens.clone(),
        http_put_response_hop_limit: args.http_put_response_hop_limit.map(u64::from),
        http_endpoint: args.http_endpoint.clone(),
        http_protocol_ipv6: args.http_protocol_ipv6.clone(),
        instance_metadata_tags: args.instance_metadata_tags.clone(),
    };
    run(|catalog| {
        let instance_id = catalog.resolve(&args.instance).map_err(refused)?;
        let options = changed(catalog, &instance_id, &change)?;
        let page = text(&instance_id, &options);
        let json = Modified { instance_id, instance_metadata_options: options };
        Ok(answer::tell(args.output, &page, &json, Code::Success))
    })
}

/// By the process that runs its machine, or else in its record.
fn changed(catalog: &Catalog, id: &str, change: &MetadataChange) -> Result<MetadataOptions, Failure> {
    let record = catalog.describe(id).map_err(refused)?;
    changed_metadata(&record, change).map_err(refused)?;
    let action = Action::ModifyMetadata { change: change.clone() };
    match ask(catalog, id, &action, |record: &InstanceRecord| {
        changed_metadata(record, &MetadataChange::default()).map(|_| Step::Do)
    })? {
        Asked::Answered(Outcome::MetadataOptions(options)) => Ok(*options),
        Asked::Answered(_) => Err(unexpected(id)),
        Asked::NotAlive(_) => catalog.modify_metadata(id, change).map_err(refused),
    }
}

fn text(id: &str, options: &MetadataOptions) -> String {
    let of = &options.options;
    format!(
        "{id}  HttpTokens {}, HttpPutResponseHopLimit {}, HttpEndpoint {}, HttpProtocolIpv6 {}, InstanceMetadataTags {}",
        of.http_tokens,
        of.http_put_response_hop_limit,
        of.http_endpoint,
        of.http_protocol_ipv6,
        of.instance_metadata_tags
    )
}

fn unexpected(id: &str) -> Failure {
    Failure::new(Code::Host, format!("the machine of {id} has answered something else"))
        .hint("another version of ami-run has started it: use that one")
}

/// Has it announced, and says so.
pub(crate) fn event(args: &EventArgs) -> Code {
    run(|catalog| {
        let event = of(args)?;
        let id = catalog.resolve(&args.instance).map_err(refused)?;
        let within = args.within.as_secs();
        let action = Action::Event { event, within, cancel: args.cancel };
        match ask(catalog, &id, &action, |_| Ok(Step::Do))? {
            Asked::Answered(Outcome::Done(_)) => {}
            Asked::Answered(_) => return Err(unexpected(&id)),
            Asked::NotAlive(state) => {
                let message = format!("The instance '{id}' is not in the 'running' state.");
                let failure = Failure::new(Code::Refused, format!("{message} (IncorrectInstanceState)"));
                return Err(failure
                    .hint(format!("it is {state}: nobody is there to be told"))
                    .ec2("IncorrectInstanceState", message));
            }
        }
        let kind = args.kind.name();
        let page = match args.kind {
            _ if args.cancel => format!("{id}  {kind} is taken back"),
            Kind::Rebalance => format!("{id}  {kind} is recommended"),
            _ => format!("{id}  {kind} is announced, in {within} s"),
        };
        Ok(answer::page(&page, Code::Success))
    })
}

fn of(args: &EventArgs) -> Result<Event, Failure> {
    let refuse = |message: &str, hint: &str| {
        Err(Failure::new(Code::CommandLine, format!("event {}: {message}", args.kind.name())).hint(hint))
    };
    match (args.kind, &args.code) {
        (Kind::Maintenance, Some(code)) => Ok(Event::Maintenance(code.clone())),
        (Kind::Maintenance, None) => {
            refuse("it has a code", "such as: event INSTANCE maintenance system-reboot")
        }
        (_, Some(_)) => refuse("it has no code", "leave the last word out"),
        (Kind::SpotStop, None) => Ok(Event::SpotStop),
        (Kind::SpotTerminate, None) => Ok(Event::SpotTerminate),
        (Kind::SpotHibernate, None) => Ok(Event::SpotHibernate),
        (Kind::Rebalance, None) => Ok(Event::Rebalance),
    }
}
