//! `metadata`: its options.

use super::Given;
use crate::values;
use clap::Parser;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

const USAGE: &str = "\
ami-run metadata [OPTIONS] IMAGE -- COMMAND [WORDS]...
       ami-run metadata [OPTIONS] IMAGE --listen ADDR:PORT
       ami-run metadata --certificate";

const EXAMPLES: &str = "\
Examples:
  ami-run metadata image.json --iam-credentials profile:dev -- aws sts get-caller-identity
  ami-run metadata image.json --listen 127.0.0.1:1338 --user-data setup.sh --tag Name=web &
  export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1338/
  ami-run metadata --certificate > certificate
  curl -s http://127.0.0.1:1338/latest/dynamic/instance-identity/signature | base64 -d > signature

Exit codes:
      1  the image, or what the instance is given, is refused as EC2 would
      2  command line
      3  this computer can't: the port is taken, or it gives nobody a network namespace
  128+n  ended by signal n, as --listen is meant to end
  others: of COMMAND
";

/// Answer as the metadata service (IMDS) of an instance of this image would, for tools under test; no guest is
/// started.
///
/// COMMAND runs on this computer, as this user, with the network of such an instance: there the service answers at
/// 169.254.169.254, as every client expects, and the rest of the network is this computer's. Nobody else reaches the
/// service, root is not needed, and COMMAND's exit status is that of ami-run. Credentials that are lent from the
/// environment (env) are not in COMMAND's own, or it would not ask for them.
///
/// With --listen it listens on this computer only, until SIGINT or SIGTERM ends it, for clients that can be told where
/// to ask. What the instance would be given at a launch, its ids and its addresses, is made up anew each time.
#[derive(Parser, Debug)]
#[command(name = "ami-run metadata", no_binary_name = true, max_term_width = 100, override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Metadata {
    /// An image.json (- for standard input), a disk file or a volume
    #[arg(value_name = "IMAGE", required_unless_present = "certificate")]
    pub(crate) image: Option<PathBuf>,

    /// What to run, with its words
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["listen", "certificate"])]
    pub(crate) command: Vec<OsString>,

    /// A loopback address and a port; port 0 takes one that is free
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen)]
    #[arg(required_unless_present_any = ["command", "certificate"])]
    pub(crate) listen: Option<SocketAddr>,

    /// The image to take from a description of several
    #[arg(long, value_name = "AMI")]
    pub(crate) image_id: Option<String>,

    /// The instance type [default: t3.micro, or t4g.micro for arm64]
    #[arg(long, value_name = "TYPE")]
    pub(crate) instance_type: Option<String>,

    #[command(flatten)]
    pub(crate) given: Given,

    /// With --listen: let every user of this computer have the credentials, as whoever reaches the port can
    #[arg(long)]
    pub(crate) allow_local_users: bool,

    /// Print the certificate that verifies this computer's instance identity documents, and end
    #[arg(long)]
    pub(crate) certificate: bool,
}
