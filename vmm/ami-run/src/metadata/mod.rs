//! `metadata`: the metadata service of an instance that is only thought of, for tools under test.

mod credentials;
mod facts;
mod inputs;
mod namespace;
mod options;
mod plug;
mod server;

pub(crate) use namespace::inside;

use crate::args::Metadata;
use crate::bases::Bases;
use crate::exit::Code;
use crate::failure::Failure;
use crate::session::{Signals, signal_name};
use crate::source::{self, Source};
use crate::{inspect, state, ui};
use ami_run_catalog::ids;
use ami_run_image::{Architecture, Image, LaunchPlan, Request, plan};
use ami_run_inspect::{Depth, guess};
use ami_run_metadata::{Facts, Now, Role, Service, Signer};
use namespace::Station;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::SystemTime;

const ROLE: &str = "ami-run";
const PROFILE_ID: &str = "AIPA0000000000000000A";

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
    let (image, plan) = planned(args)?;
    let options = options::read(args.metadata_options.as_deref(), &plan.metadata_options)?;
    let now = Now::read();
    let mut facts = facts::facts(&image, &plan, &args.region, now.wall)
        .map_err(|cause| state::catalog_failure(&cause))?;
    facts.user_data = args.user_data.as_deref().map(inputs::user_data).transpose()?;
    facts.public_key = args.ssh_key.as_deref().map(inputs::public_key).transpose()?;
    facts.tags = inputs::tags(&args.tags, options.tags)?;
    let lender = Lender::new(args, &mut facts, now)?;
    if options.ipv6 && !args.command.is_empty() {
        namespace::give_ipv6(&mut facts);
    }
    let secret = ids::random().map_err(|cause| state::catalog_failure(&cause))?;
    let service = Service::new(facts, options, secret, Some(signer()?), now);
    match args.command.as_slice() {
        [] => at_port(args.listen, service, lender.as_ref()),
        [program, ..] => {
            let program = program.display().to_string();
            in_namespace(service, lender, &program, &args.command)
        }
    }
}

/// Until a signal comes.
fn at_port(at: Option<SocketAddr>, mut service: Service, lender: Option<&Lender>) -> Result<Code, Failure> {
    let cannot = |cause: std::io::Error| Failure::new(Code::Host, "cannot serve").because(&cause);
    let mut signals = Signals::block().map_err(cannot)?;
    let (listener, at) = listen(at)?;
    tell(&service, lender, &format!("http://{at}/"), "every user of this computer");
    let renew = |service: &mut Service, now| lender.iter().for_each(|lender| lender.renew(service, now));
    let signal = server::serve(&listener, &mut service, &mut signals, renew).map_err(cannot)?;
    ui::status("ending", &signal_name(signal));
    Ok(Code::Signal(u8::try_from(signal).unwrap_or_default()))
}

/// Until the command ends.
fn in_namespace(
    service: Service,
    lender: Option<Lender>,
    program: &str,
    command: &[OsString],
) -> Result<Code, Failure> {
    let odd = || Failure::new(Code::Bug, "the instance has no address");
    let station = Station::new(service.facts()).ok_or_else(odd)?;
    tell(&service, lender.as_ref(), &format!("http://{}/", plug::ADDRESS), program);
    namespace::run(&station, plug::services(service, lender), command)
}

fn tell(service: &Service, lender: Option<&Lender>, at: &str, whom: &str) {
    if let Some(lender) = lender {
        let what = lender.source.what();
        ui::status("lending", &format!("the credentials of {what}, to {whom}"));
    }
    ui::status("serving", &format!("the metadata of {} at {at}", service.facts().instance_id));
}

/// What EC2 would make of the image. Its snapshots are not looked for.
fn planned(args: &Metadata) -> Result<(Image, LaunchPlan), Failure> {
    let path = args.image.as_deref().unwrap_or(Path::new("-"));
    let name = path.display().to_string();
    let assumed = |disk: inspect::Disk| {
        Ok::<_, Failure>(source::assumed_image(Some(&guess(&inspect::look(&disk, None, Depth::Start)?))))
    };
    let mut bases = Bases::default();
    let image = match source::open(path, false, args.image_id.as_deref())? {
        Source::Description { image, .. } => *image,
        Source::Disk(path) => assumed(inspect::open(&mut bases, &path)?)?,
        Source::Volume(path) => assumed(inspect::open_volume(&mut bases, &path)?)?,
    };
    let named = image.architecture.as_deref();
    let host = [Architecture::X86_64, Architecture::Arm64]
        .into_iter()
        .find(|architecture| named == Some(architecture.to_string().as_str()));
    let request = Request {
        host: host.unwrap_or(Architecture::X86_64),
        instance_type: args.instance_type.as_deref(),
        cpus: None,
        memory_mib: None,
        boot_mode: None,
        mappings: &[],
        interface: None,
        account_id: None,
        now: SystemTime::now(),
    };
    let plan = plan(&image, &request).map_err(|refusal| source::refuse_launch(&name, &refusal))?;
    Ok((image, plan))
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

/// Gives the role its credentials, and new ones when its source has some.
struct Lender {
    source: credentials::Source,
}

impl Lender {
    fn new(args: &Metadata, facts: &mut Facts, now: Now) -> Result<Option<Lender>, Failure> {
        let Some(given) = &args.iam_credentials else { return Ok(None) };
        if args.command.is_empty() && !args.allow_local_users {
            let message = "--iam-credentials: every user of this computer could read them from the port";
            return Err(
                Failure::new(Code::CommandLine, message)
                    .hint("run the client by it: `ami-run metadata … -- COMMAND`; or if they all may, add --allow-local-users")
            );
        }
        let source = credentials::Source::open(given, |name| std::env::var_os(name))?;
        facts.role = Some(Role {
            name: ROLE.to_owned(),
            profile_arn: format!("arn:aws:iam::{}:instance-profile/{ROLE}", facts::ACCOUNT),
            profile_id: PROFILE_ID.to_owned(),
            credentials: Some(source.read(now.wall)?),
            updated: now.wall,
        });
        Ok(Some(Lender { source }))
    }

    /// Told once that they cannot be had, and again when they can.
    fn renew(&self, service: &mut Service, now: Now) {
        let Some(role) = &service.facts().role else { return };
        let read = self.source.read(now.wall);
        if role.credentials.as_ref() == read.as_ref().ok() {
            return;
        }
        if let Err(failure) = &read {
            log::warn!("{}", failure.line());
        }
        let mut facts = service.facts().clone();
        if let Some(role) = &mut facts.role {
            (role.credentials, role.updated) = (read.ok(), now.wall);
        }
        let options = service.options();
        service.set(facts, options, now);
    }
}
