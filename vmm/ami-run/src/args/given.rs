//! What an instance is given besides its image: options of a launch, and of `metadata`.

use crate::values;
use clap::Args;
use std::path::PathBuf;

// What clap says of the options is the command's: no doc comment, which would take its place.
#[derive(Args, Debug)]
#[command(next_help_heading = "As on EC2")]
pub(crate) struct Given {
    /// The Region that the instance is in
    #[arg(long, value_name = "REGION", default_value = "us-east-1", value_parser = values::region)]
    pub(crate) region: String,

    /// What cloud-init is to do: a file of 16 KiB at most, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) user_data: Option<String>,

    /// The public key of the instance's key pair, which has the file's name
    #[arg(long, value_name = "FILE.pub")]
    pub(crate) ssh_key: Option<PathBuf>,

    /// A tag of the instance (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = values::tag)]
    pub(crate) tags: Vec<(String, String)>,

    /// How the service answers, in the AWS CLI's syntax: HttpTokens=required,InstanceMetadataTags=enabled
    #[arg(long, value_name = "OPTIONS")]
    pub(crate) metadata_options: Option<String>,

    /// Credentials of the instance's role: file:PATH, env, or profile:NAME
    ///
    /// file:PATH is JSON as `aws configure export-credentials` prints it, read again when it changes. env is
    /// AWS_ACCESS_KEY_ID and its like, profile:NAME a profile of ~/.aws/credentials; both are looked up once, and
    /// again at each `ami-run start`.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) iam_credentials: Option<String>,
}
