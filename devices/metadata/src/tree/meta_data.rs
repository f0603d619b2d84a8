//! `meta-data/`: EC2's categories, each with the version that brought it (EC2's user guide, "Instance metadata
//! categories"; where it has no date, the date is a guess).

use super::{Entry, directory, lines, network, text};
use crate::facts::{Events, Facts, Maintenance, MaintenanceState, Placement, Role, SpotAction};
use crate::json;
use crate::options::MetadataOptions;
use crate::time::{gmt, iso8601};
use crate::version::FIRST;

const VHOSTMD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

pub(super) fn entries(facts: &Facts, options: &MetadataOptions) -> Vec<Entry> {
    let block_devices = facts.block_devices.iter();
    let region = &facts.placement.region;
    let mut all = vec![
        text("ami-id", FIRST, &facts.image_id),
        text("ami-launch-index", FIRST, facts.launch_index.to_string()),
        // What EC2 says of every image with an EBS root.
        text("ami-manifest-path", FIRST, "(unknown)"),
        directory(
            "block-device-mapping",
            block_devices.map(|(name, device)| text(name, 20071215, device)).collect(),
        ),
        directory("events", events(&facts.events)),
        directory("hibernation", vec![text("configured", 20180924, facts.hibernation.to_string())]),
        text("hostname", FIRST, &facts.hostname),
        directory("identity-credentials", vec![directory("ec2", vec![identity_credentials(facts)])]),
        text("instance-action", 20080901, "none"),
        text("instance-id", FIRST, &facts.instance_id),
        text("instance-life-cycle", 20191001, &facts.life_cycle),
        text("instance-type", 20070829, &facts.instance_type),
        text("local-hostname", 20070119, &facts.hostname),
        directory("metrics", vec![text("vhostmd", 20110501, VHOSTMD)]),
        directory("placement", placement(&facts.placement)),
        text("profile", 20071215, "default-hvm"),
        text("reservation-id", FIRST, &facts.reservation_id),
        directory(
            "services",
            vec![text("domain", 20140225, domain(region)), text("partition", 20151020, partition(region))],
        ),
        text("system", 20220924, "nitro"),
    ];
    all.extend(network::entries(facts));
    all.extend(sometimes(facts));
    if options.tags {
        let tags = facts.tags.iter().map(|(key, value)| text(key, 20210323, value)).collect();
        all.push(directory("tags", vec![directory("instance", tags)]));
    }
    all
}

/// What not every instance has.
fn sometimes(facts: &Facts) -> Vec<Entry> {
    let mut some = Vec::new();
    let list =
        |name: &str, since, items: &[String]| (!items.is_empty()).then(|| text(name, since, lines(items)));
    some.extend(list("ancestor-ami-ids", 20071010, &facts.ancestor_image_ids));
    some.extend(list("product-codes", 20070301, &facts.product_codes));
    some.extend(facts.kernel_id.as_ref().map(|id| text("kernel-id", 20080201, id)));
    some.extend(facts.ramdisk_id.as_ref().map(|id| text("ramdisk-id", 20071010, id)));
    some.extend(
        facts
            .target_life_cycle_state
            .as_ref()
            .map(|state| directory("autoscaling", vec![text("target-lifecycle-state", 20210715, state)])),
    );
    some.extend(facts.public_key.as_ref().map(|key| {
        let shown = Some(format!("0={}", key.name));
        let numbered = Entry { shown, ..directory("0", vec![text("openssh-key", FIRST, &key.openssh)]) };
        directory("public-keys", vec![numbered])
    }));
    some.extend(facts.role.as_ref().map(|role| directory("iam", iam(role))));
    some.extend(facts.events.spot.map(|notice| {
        let time = iso8601(notice.time);
        let action = format!("{{\"action\": \"{}\", \"time\": \"{time}\"}}", notice.action.name());
        let mut spot = vec![text("instance-action", 20161115, action)];
        if notice.action == SpotAction::Terminate {
            spot.push(text("termination-time", 20141105, time));
        }
        directory("spot", spot)
    }));
    some
}

fn placement(placement: &Placement) -> Vec<Entry> {
    let mut all = vec![
        text("availability-zone", 20080201, &placement.availability_zone),
        text("availability-zone-id", 20191001, &placement.availability_zone_id),
        text("region", 20200824, &placement.region),
    ];
    all.extend(placement.group_name.as_ref().map(|name| text("group-name", 20200824, name)));
    all.extend(placement.host_id.as_ref().map(|id| text("host-id", 20200824, id)));
    all.extend(
        placement.partition_number.map(|number| text("partition-number", 20200824, number.to_string())),
    );
    all
}

/// The beginning of a partition's regions, its name, and its domain.
const PARTITIONS: [(&str, &str, &str); 5] = [
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("", "aws", "amazonaws.com"),
];

/// The partition of a Region: `aws`, `aws-cn` and others.
#[must_use]
pub fn partition(region: &str) -> &'static str {
    PARTITIONS.iter().find(|(begin, ..)| region.starts_with(begin)).map_or("", |(_, name, _)| name)
}

fn domain(region: &str) -> &'static str {
    PARTITIONS.iter().find(|(begin, ..)| region.starts_with(begin)).map_or("", |(.., domain)| domain)
}

fn identity_credentials(facts: &Facts) -> Entry {
    let updated = iso8601(facts.pending_time);
    let members =
        [("Code", "Success"), ("LastUpdated", updated.as_str()), ("AccountId", facts.account_id.as_str())];
    text("info", 20180523, json::texts(&members))
}

fn iam(role: &Role) -> Vec<Entry> {
    const SINCE: u32 = 20120112;
    let updated = iso8601(role.updated);
    let info = json::texts(&[
        ("Code", "Success"),
        ("LastUpdated", &updated),
        ("InstanceProfileArn", &role.profile_arn),
        ("InstanceProfileId", &role.profile_id),
    ]);
    let credentials = match &role.credentials {
        Some(had) => json::texts(&[
            ("Code", "Success"),
            ("LastUpdated", &updated),
            ("Type", "AWS-HMAC"),
            ("AccessKeyId", &had.access_key_id),
            ("SecretAccessKey", &had.secret_access_key),
            ("Token", &had.token),
            ("Expiration", &iso8601(had.expiration)),
        ]),
        None => json::texts(&[
            ("Code", "AssumeRoleUnauthorizedAccess"),
            ("Message", &format!("EC2 cannot assume the role {}.", role.name)),
            ("LastUpdated", &updated),
        ]),
    };
    let credentials = directory("security-credentials", vec![text(&role.name, SINCE, credentials)]);
    vec![text("info", SINCE, info), credentials]
}

fn events(events: &Events) -> Vec<Entry> {
    let of = |active: bool| {
        let these =
            events.maintenance.iter().filter(|event| (event.state == MaintenanceState::Active) == active);
        let these: Vec<_> = these.map(maintenance).collect();
        if these.is_empty() { "[]".to_owned() } else { format!("[ {} ]", these.join(", ")) }
    };
    let scheduled = vec![text("history", 20180817, of(false)), text("scheduled", 20180817, of(true))];
    let mut all = vec![directory("maintenance", scheduled)];
    all.extend(events.rebalance.map(|time| {
        let notice = format!("{{\"noticeTime\": \"{}\"}}", iso8601(time));
        directory("recommendations", vec![text("rebalance", 20201027, notice)])
    }));
    all
}

fn maintenance(event: &Maintenance) -> String {
    let before = gmt(event.not_before);
    let after = event.not_after.map(gmt);
    let mut members = vec![
        ("NotBefore", before.as_str()),
        ("Code", &event.code),
        ("Description", &event.description),
        ("EventId", &event.event_id),
    ];
    members.extend(after.as_deref().map(|after| ("NotAfter", after)));
    members.push(("State", event.state.name()));
    json::texts(&members)
}
