//! How the service answers: RunInstances' MetadataOptions. It can be changed while the instance runs.

/// The defaults are EC2's, for an image without ImdsSupport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataOptions {
    /// HttpTokens is `required`: a request without a token is refused.
    pub tokens_required: bool,
    /// HttpPutResponseHopLimit, 1 to 64.
    pub hop_limit: u8,
    /// HttpEndpoint is `enabled`.
    pub endpoint: bool,
    /// HttpProtocolIpv6 is `enabled`: whoever owns the sockets listens at fd00:ec2::254, too.
    pub ipv6: bool,
    /// InstanceMetadataTags is `enabled`.
    pub tags: bool,
}

impl Default for MetadataOptions {
    fn default() -> MetadataOptions {
        MetadataOptions { tokens_required: false, hop_limit: 1, endpoint: true, ipv6: false, tags: false }
    }
}
