//! The instance identity document, in the words and the order that EC2 has them.

use crate::facts::Facts;
use crate::json::{Member, object};
use crate::time::iso8601;

/// Of the document's form.
const VERSION: &str = "2017-09-30";

pub(crate) fn document(facts: &Facts) -> String {
    fn of(list: &[String]) -> Option<Member<'_>> {
        (!list.is_empty()).then_some(Member::List(list))
    }

    let pending = iso8601(facts.pending_time);
    let address = facts.interfaces.first().and_then(|primary| primary.private_ipv4s.first());
    let address = address.map(ToString::to_string);
    let some = |text| Some(Member::Text(text));
    object(&[
        ("accountId", some(&facts.account_id)),
        ("architecture", some(&facts.architecture)),
        ("availabilityZone", some(&facts.placement.availability_zone)),
        ("billingProducts", of(&facts.billing_products)),
        ("devpayProductCodes", None),
        ("marketplaceProductCodes", of(&facts.product_codes)),
        ("imageId", some(&facts.image_id)),
        ("instanceId", some(&facts.instance_id)),
        ("instanceType", some(&facts.instance_type)),
        ("kernelId", facts.kernel_id.as_deref().map(Member::Text)),
        ("pendingTime", some(&pending)),
        ("privateIp", address.as_deref().map(Member::Text)),
        ("ramdiskId", facts.ramdisk_id.as_deref().map(Member::Text)),
        ("region", some(&facts.placement.region)),
        ("version", some(VERSION)),
    ])
}
