//! The metadata service: of launched instances ([`Live`]), and by `metadata` of one that is only thought of, for tools
//! under test.

mod credentials;
mod facts;
mod inputs;
mod live;
mod namespace;
mod options;
mod plug;
mod server;

pub(crate) use credentials::lasting_environment;
pub(crate) use facts::ipv6;
pub(crate) use inputs::{Inputs, read as inputs};
pub(crate) use live::Live;
pub(crate) use namespace::inside;

use crate::args::Metadata;
use crate::bases::Bases;
use crate::exit::Code;
use crate::failure::Failure;
use crate::session::{Signals, signal_name};
use crate::source::{self, Source};
use crate::{fresh, host, inspect, state, ui};
use ami_run_catalog::{CatalogError, Reservation, VolumeOrigin, ids};
use ami_run_image::{Architecture, Image, InstanceType, LaunchPlan, Request, plan};
use ami_run_inspect::{Depth, guess};
use ami_run_metadata::{Now, Service, Signer};
use credentials::{Lender, hidden, lend};
use namespace::Station;
use parking_lot::Mutex;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) fn run(args: &Metadata) -> Code {
    let done = if args.certificate { certificate() } else { serve(args) };
    done.unwrap_or_else(|failure| {
        ui::failure(&failure);
        failure.code
    })
}

fn certificate() -> Result<Code, Failure> {
    let told = ui::result(signer()?.certificate().trim_end());
    told.map_err(|cause| Failure::new(Code::Host, "cannot write to standard output").because(&cause))?;
    Ok(Code::Success)
}

fn signer() -> Result<Signer, Failure> {
    Signer::open(&state::folder()?.join("identity")).map_err(|cause| {
        Failure::new(Code::Host, "there is no key to sign identity documents with").because(&cause)
    })
}

fn serve(args: &Metadata) -> Result<Code, Failure> {
    let plan = planned(args)?;
    let inputs = inputs::read(&args.given, None, &plan.metadata_options)?;
    let catalog_failure = |cause: CatalogError| state::catalog_failure(&cause);
    let reservation = Reservation::new(None).map_err(catalog_failure)?;
    let nowhere = |_: &_| VolumeOrigin::Private { base: None };
    let new = fresh::described(&plan, &inputs, &reservation, nowhere);
    let record = new.imagined().map_err(catalog_failure)?;
    let lender = lender(args)?;
    let now = Now::read();
    let facts = facts::facts(&record, lender.as_ref(), now.wall);
    let options = options::of(&inputs.metadata_options);
    // Before the key is made, which is not for a place where nobody can be served.
    let port = args.command.is_empty().then(|| listen(args.listen)).transpose()?;
    let secret = ids::random().map_err(catalog_failure)?;
    let service = Service::new(facts, options, secret, Some(signer()?), now);
    match port {
        Some(port) => at_port(port, service, lender.as_ref()),
        None => in_namespace(service, lender, hidden(args.given.iam_credentials.as_deref()), &args.command),
    }
}

/// Until a signal comes.
fn at_port(
    (listener, at): (TcpListener, SocketAddr),
    mut service: Service,
    lender: Option<&Lender>,
) -> Result<Code, Failure> {
    let cannot = |cause: std::io::Error| Failure::new(Code::Host, "cannot serve").because(&cause);
    let mut signals = Signals::block().map_err(cannot)?;
    tell(&said(&service, lender, &format!("http://{at}/"), "every user of this computer"));
    let renew = |service: &mut Service, now: Now| {
        if let Some(lender) = lender {
            lend(service, lender.read(now.wall), now);
        }
    };
    let signal = server::serve(&listener, &mut service, &mut signals, renew).map_err(cannot)?;
    ui::status("ending", &signal_name(signal));
    Ok(Code::Signal(u8::try_from(signal).unwrap_or_default()))
}

/// Until the command ends.
fn in_namespace(
    service: Service,
    lender: Option<Lender>,
    hidden: &[&str],
    command: &[OsString],
) -> Result<Code, Failure> {
    let odd = || Failure::new(Code::Bug, "the instance has no address");
    let station = Station::new(service.facts()).ok_or_else(odd)?;
    let program = command.first().map(|program| program.display().to_string()).unwrap_or_default();
    let said = said(&service, lender.as_ref(), &format!("http://{}/", plug::ADDRESS), &program);
    let (core, lender) = (Arc::new(Mutex::new(service)), lender.map(Arc::new));
    let renewed = Arc::clone(&core);
    let services = plug::services(&core, move || {
        if let Some(lender) = &lender {
            let now = Now::read();
            let read = lender.read(now.wall);
            lend(&mut renewed.lock(), read, now);
        }
    });
    namespace::run(&station, services, (command, hidden), || tell(&said))
}

/// What is served and lent, to whom, by phases.
fn said(service: &Service, lender: Option<&Lender>, at: &str, whom: &str) -> Vec<(&'static str, String)> {
    let lent = lender.map(|lender| ("lending", format!("the credentials of {}, to {whom}", lender.what())));
    let served = ("serving", format!("the metadata of {} at {at}", service.facts().instance_id));
    lent.into_iter().chain([served]).collect()
}

fn tell(said: &[(&str, String)]) {
    said.iter().for_each(|(phase, text)| ui::status(phase, text));
}

/// What EC2 would make of the image. Its snapshots are not looked for.
fn planned(args: &Metadata) -> Result<LaunchPlan, Failure> {
    let path = args.image.as_deref().unwrap_or(Path::new("-"));
    let name = path.display().to_string();
    let assumed = |disk: inspect::Disk| {
        let contents = inspect::look(&disk, None, Depth::Start)?;
        Ok::<_, Failure>(source::assumed_image(Some(&guess(&contents, host::this_computer()?))))
    };
    let mut bases = Bases::default();
    let image = match source::open(path, false, args.image_id.as_deref())? {
        Source::Description { image, .. } => *image,
        Source::Disk(path) => assumed(inspect::open(&mut bases, &path)?)?,
        Source::Volume(path) => assumed(inspect::open_volume(&mut bases, &path)?)?,
    };
    let request = Request {
        host: launched_on(&image, args.instance_type.as_deref(), host::this_computer()?),
        instance_type: args.instance_type.as_deref(),
        cpus: None,
        memory_mib: None,
        boot_mode: None,
        mappings: &[],
        interface: None,
        account_id: None,
        now: SystemTime::now(),
    };
    plan(&image, &request).map_err(|refusal| source::refuse_launch(&name, &refusal))
}

/// No guest runs, so the image or else the type may be for any computer; what neither says is this one's.
fn launched_on(image: &Image, instance_type: Option<&str>, here: Architecture) -> Architecture {
    let named = image.architecture.as_deref().and_then(Architecture::from_ec2);
    let of_type = || Some(InstanceType::find(instance_type?)?.architecture);
    named.or_else(of_type).unwrap_or(here)
}

/// Listens for this computer alone.
fn listen(at: Option<SocketAddr>) -> Result<(TcpListener, SocketAddr), Failure> {
    let at = at.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let refuse = |code, why: &str| Failure::new(code, format!("--listen {at}: {why}"));
    if !at.ip().is_loopback() {
        return Err(refuse(Code::CommandLine, "metadata are for this computer alone")
            .hint(format!("give a loopback address: --listen 127.0.0.1:{}", at.port())));
    }
    let listener = TcpListener::bind(at).map_err(|cause| match cause.kind() {
        ErrorKind::AddrInUse => refuse(Code::Host, "another program listens there")
            .hint("choose another port; port 0 takes one that is free"),
        ErrorKind::PermissionDenied => refuse(Code::Host, "this user may not listen there")
            .because(&cause)
            .hint("choose a port above 1023"),
        _ => refuse(Code::Host, "cannot listen there").because(&cause),
    })?;
    let cannot = |cause: std::io::Error| refuse(Code::Host, "cannot listen there").because(&cause);
    listener.set_nonblocking(true).map_err(cannot)?;
    let at = listener.local_addr().map_err(cannot)?;
    Ok((listener, at))
}

/// Of who may lend credentials to all that reach the port.
fn lender(args: &Metadata) -> Result<Option<Lender>, Failure> {
    let Some(given) = &args.given.iam_credentials else { return Ok(None) };
    if args.command.is_empty() && !args.allow_local_users {
        let message = "--iam-credentials: every user of this computer could read them from the port";
        return Err(Failure::new(Code::CommandLine, message).hint(
            "run the client by it: `ami-run metadata … -- COMMAND`; or if they all may, add --allow-local-users",
        ));
    }
    Lender::open(given).map(Some)
}

/// Says that an instance is lent credentials, and whose.
pub(crate) fn tell_lending(source: &str) -> Result<(), Failure> {
    let what = Lender::open(source)?.what();
    ui::status("lending", &format!("the credentials of {what}, to the guest"));
    Ok(())
}
