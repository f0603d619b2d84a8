//! `modify`: what the next start of a stopped instance has otherwise.

use super::{refused, run};
use crate::answer;
use crate::args::Modify;
use ami_run_catalog::{Behavior, Change, InstanceRecord};

/// Changes it, and says what it is now.
pub(crate) fn modify(args: &Modify) -> crate::exit::Code {
    let delete_on_termination =
        args.delete_on_termination.iter().map(|given| (given.device.clone(), given.value));
    let change = Change {
        instance_type: args.instance_type.clone(),
        cpus: args.cpus,
        memory_mib: args.memory,
        shutdown_behavior: args.instance_initiated_shutdown_behavior,
        delete_on_termination: delete_on_termination.collect(),
    };
    run(|catalog| {
        let id = catalog.resolve(&args.instance).map_err(refused)?;
        let record = catalog.modify(&id, &change).map_err(refused)?;
        Ok(answer::page(&text(&record), crate::exit::Code::Success))
    })
}

fn text(record: &InstanceRecord) -> String {
    let behavior = match record.own.shutdown_behavior {
        Behavior::Stop => "stop",
        Behavior::Terminate => "terminate",
    };
    let machine = format!(
        "{}  {}, {} vCPUs, {} MiB; {behavior} when its guest powers off",
        record.instance_id, record.instance_type, record.cpu_options.core_count, record.own.memory_mib
    );
    let volumes = record.block_device_mappings.iter().map(|mapping| {
        let becomes = if mapping.ebs.delete_on_termination { "deleted" } else { "kept" };
        format!("{}  {}, {becomes} when it is terminated", mapping.ebs.volume_id, mapping.device_name)
    });
    std::iter::once(machine).chain(volumes).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::stopped;

    #[test]
    fn what_the_next_start_will_have_is_said() {
        let mut record = stopped("i-01");
        record.block_device_mappings.truncate(2);
        record.own.shutdown_behavior = Behavior::Terminate;
        let wanted = "\
i-01  t3.micro, 2 vCPUs, 1024 MiB; terminate when its guest powers off
vol-0a  /dev/xvda, deleted when it is terminated
vol-0b  /dev/sdf, kept when it is terminated";
        assert_eq!(text(&record), wanted);
    }
}
