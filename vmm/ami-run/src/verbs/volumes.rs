//! The verbs on volumes of the store, and on a volume's own file: attach, detach, resize, list, delete.

use super::{Several, refused, run, words};
use crate::answer;
use crate::args::{AttachVolume, DetachVolume, VolumeLs, VolumeResize, VolumeRm};
use crate::exit::Code;
use crate::failure::Failure;
use crate::ui;
use ami_run_catalog::{DescribedVolume, InstanceRecord, VolumeModification, time};
use ami_run_machine::MAX_VOLUMES;
use serde::Serialize;

/// DescribeVolumes' result.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Described<'a> {
    volumes: &'a [DescribedVolume],
}

/// ModifyVolume's result.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Modified {
    volume_modification: VolumeModification,
}

/// AttachVolume.
pub(crate) fn attach(args: &AttachVolume) -> Code {
    run(|catalog| {
        let id = catalog.resolve(&args.instance).map_err(refused)?;
        has_room(&catalog.describe(&id).map_err(refused)?)?;
        let attached = catalog.attach_volume(&args.volume, &id, &args.device).map_err(refused)?;
        let page = format!("{}  attached to {id} at {}", attached.volume_id, attached.device);
        Ok(answer::tell(args.output, &page, &attached, Code::Success))
    })
}

/// Whether its machine has a place for one more volume.
fn has_room(record: &InstanceRecord) -> Result<(), Failure> {
    if record.block_device_mappings.len() < MAX_VOLUMES {
        return Ok(());
    }
    let (code, id) = ("AttachmentLimitExceeded", &record.instance_id);
    let message = format!("{id} has {MAX_VOLUMES} volumes attached, and a machine has places for no more");
    Err(Failure::new(Code::Refused, format!("{message} ({code})")).ec2(code, message))
}

/// DetachVolume.
pub(crate) fn detach(args: &DetachVolume) -> Code {
    run(|catalog| {
        let detached = catalog.detach_volume(&args.volume).map_err(refused)?;
        let page = format!("{}  detached from {}", detached.volume_id, detached.instance_id);
        Ok(answer::tell(args.output, &page, &detached, Code::Success))
    })
}

/// ModifyVolume.
pub(crate) fn resize(args: &VolumeResize) -> Code {
    run(|catalog| {
        let modified = catalog.resize_volume(&args.volume, args.size).map_err(refused)?;
        let VolumeModification { volume_id, original_size, target_size, .. } = &modified;
        let page = format!("{volume_id}  {original_size} GiB → {target_size} GiB");
        Ok(answer::tell(args.output, &page, &Modified { volume_modification: modified }, Code::Success))
    })
}

/// DescribeVolumes.
pub(crate) fn list(args: &VolumeLs) -> Code {
    run(|catalog| {
        let volumes = catalog.volumes().map_err(refused)?;
        if volumes.is_empty() {
            ui::note("no volumes");
        }
        let page = if volumes.is_empty() { String::new() } else { table(&volumes, time::now()) };
        Ok(answer::tell(args.output, &page, &Described { volumes: &volumes }, Code::Success))
    })
}

fn table(volumes: &[DescribedVolume], now: u64) -> String {
    let row = |volume: &DescribedVolume| {
        let of = volume.attachments.first();
        let created = time::parse(&volume.create_time).unwrap_or(now);
        vec![
            volume.volume_id.clone(),
            format!("{} GiB", volume.size),
            volume.state.clone(),
            of.map(|of| of.instance_id.clone()).unwrap_or_default(),
            of.map(|of| of.device.clone()).unwrap_or_default(),
            words::ago(now.saturating_sub(created)),
            volume.own.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = volumes.iter().map(row).collect();
    words::table(&["ID", "SIZE", "STATE", "INSTANCE", "DEVICE", "CREATED", "FILE"], &rows)
}

/// DeleteVolume, of each. One that is unknown keeps all from being deleted, since it may be a slip.
pub(crate) fn remove(args: &VolumeRm) -> Code {
    run(|catalog| {
        let known = catalog.volumes().map_err(refused)?;
        let unknown = |id: &&String| !known.iter().any(|volume| volume.volume_id == **id);
        if let Some(id) = args.volumes.iter().find(unknown) {
            return Err(crate::volume::unknown(id));
        }
        let mut several = Several::new();
        let delete =
            |id: &String| catalog.delete_volume(id).map_err(refused).map(|()| format!("{id}  deleted"));
        let page: Vec<_> = args.volumes.iter().filter_map(|id| several.take(delete(id))).collect();
        Ok(answer::page(&page.join("\n"), several.code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_catalog::{VolumeAttachment, VolumeFile};
    use serde_json::json;

    fn volumes() -> [DescribedVolume; 2] {
        let volume = |id: &str, attachments: Vec<VolumeAttachment>| DescribedVolume {
            volume_id: id.to_owned(),
            size: 8,
            state: if attachments.is_empty() { "available" } else { "in-use" }.to_owned(),
            attachments,
            volume_type: "gp3".to_owned(),
            iops: Some(3000),
            throughput: Some(125),
            encrypted: false,
            snapshot_id: String::new(),
            create_time: "2026-11-21T21:00:00+00:00".to_owned(),
            availability_zone: "us-east-1a".to_owned(),
            own: VolumeFile { file: None, bytes: 8 << 30 },
        };
        let attachment = VolumeAttachment {
            attach_time: "2026-11-21T21:00:00+00:00".to_owned(),
            device: "/dev/sdf".to_owned(),
            instance_id: "i-01".to_owned(),
            state: "attached".to_owned(),
            volume_id: "vol-0a".to_owned(),
            delete_on_termination: false,
        };
        [volume("vol-0a", vec![attachment]), volume("vol-0b", Vec::new())]
    }

    #[test]
    fn a_machine_has_so_many_places_for_volumes() {
        let mut record = super::super::samples::stopped("i-1");
        assert!(has_room(&record).is_ok());
        let root = record.block_device_mappings[0].clone();
        record.block_device_mappings.resize(MAX_VOLUMES, root);
        let full = has_room(&record).unwrap_err();
        assert_eq!(full.ec2.unwrap().code, "AttachmentLimitExceeded");
    }

    #[test]
    fn the_table_says_whose_a_volume_is() {
        let wanted = "\
ID      SIZE   STATE      INSTANCE  DEVICE    CREATED    FILE
vol-0a  8 GiB  in-use     i-01      /dev/sdf  2 min ago  -
vol-0b  8 GiB  available  -         -         2 min ago  -";
        assert_eq!(table(&volumes(), 1_795_294_800 + 120), wanted);
    }

    #[test]
    fn json_has_ec2_s_shapes() {
        let [attached, _] = volumes();
        let json = serde_json::to_value(Described { volumes: &[attached] }).unwrap();
        let of = &json["Volumes"][0];
        assert_eq!(
            (&of["VolumeId"], &of["Size"], &of["State"]),
            (&json!("vol-0a"), &json!(8), &json!("in-use"))
        );
        assert_eq!(of["Attachments"][0]["Device"], "/dev/sdf", "{json}");
        let modification = VolumeModification {
            volume_id: "vol-0a".to_owned(),
            modification_state: "completed".to_owned(),
            original_size: 8,
            target_size: 9,
            progress: 100,
            start_time: "2026-11-21T21:00:00+00:00".to_owned(),
        };
        let json = serde_json::to_value(Modified { volume_modification: modification }).unwrap();
        assert_eq!(json["VolumeModification"]["TargetSize"], 9, "{json}");
    }
}
