//! `ami-run image inspect`: what is on a root disk and what would start, as a page or as JSON.

mod json;

pub(crate) use json::{Assumed, Loader, loaders};

use crate::args::Inspect;
use crate::exit::Code;
use crate::failure::Failure;
use crate::inspect::{self, Seen};
use crate::{answer, host, ui};
use ami_run_inspect::{
    BootCodeKind, BootEntry, Contents, Guess, Machine, Menu, Partition, Place, Table, guess, starts,
};
use json::{holds, json, role};

/// Looks and shows it.
pub(crate) fn run(args: &Inspect) -> Code {
    answer::ended(show(args))
}

fn show(args: &Inspect) -> Result<Code, Failure> {
    let Seen { claims, contents } = inspect::seen(&args.looked)?;
    let Some(contents) = contents else {
        let message = format!("{} has no snapshot as its root volume", args.looked.image.display());
        return Err(Failure::new(Code::Refused, message).hint("`ami-run image lint` says why"));
    };
    let here = host::this_computer()?;
    let assumed = claims.is_none().then(|| guess(&contents, here));
    let mut page = page(&contents, assumed.as_ref());
    if let Some(elsewhere) = inspect::elsewhere(claims.as_ref(), assumed.as_ref(), here) {
        page = format!("{:<11}{elsewhere}\n{page}", "for");
    }
    Ok(answer::tell(args.looked.output, &page, &json(&contents, assumed.as_ref()), Code::Success))
}

/// A line for each thing that was found. What is named on the disk cannot look like a line of ours.
fn page(contents: &Contents, assumed: Option<&Guess>) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    if let Some(Guess { architecture, boot_mode, why }) = assumed {
        lines.push(("taken for", format!("{architecture}, {boot_mode}: {why}")));
    }
    let table = match contents.table {
        Table::None => "no partition table",
        Table::Mbr { .. } => "MBR",
        Table::Gpt(_) => "GPT",
    };
    lines.push(("disk", format!("{}, {table}", ui::size(contents.volume_bytes))));
    lines.push(("boot code", boot_code(contents)));
    for Partition { number, role: its, bytes, holds: what, active, name, .. } in &contents.partitions {
        let active = if *active { ", active" } else { "" };
        let name = if name.is_empty() { String::new() } else { format!(", {name}") };
        let number = if *number == 0 { "the whole disk".to_owned() } else { number.to_string() };
        let text = format!("{number}: {}{}, {}{active}{name}", role(*its).1, holds(*what), ui::size(*bytes));
        lines.push(("partition", text));
    }
    lines.extend(contents.loaders.iter().map(|it| ("loader", loader(contents, it))));
    let system = &contents.system;
    lines.extend(
        system.names.iter().map(|(at, name)| ("system", format!("{}: {name}", Place::partition(*at)))),
    );
    for BootEntry { place, title, missing, .. } in &system.entries {
        let title = title.as_deref().map(|title| format!(": {title}")).unwrap_or_default();
        let lacks =
            if missing.is_empty() { String::new() } else { format!(", lacks {}", missing.join(", ")) };
        lines.push(("entry", format!("{place}{title}{lacks}")));
    }
    for Menu { place, default, waits } in &system.menus {
        let default = default.as_deref().unwrap_or("its first entry");
        let waits = if *waits { ", once somebody has chosen" } else { "" };
        lines.push(("menu", format!("{place}: starts {default}{waits}")));
    }
    for (version, kernel) in &system.kernels {
        let machine = kernel.machine.map(|machine| format!(" ({machine})")).unwrap_or_default();
        let place = kernel.place.as_ref().map_or("only its modules".to_owned(), Place::to_string);
        lines.push(("kernel", format!("{version}{machine}, {place}")));
    }
    lines.extend(
        system.command_lines.iter().map(|line| ("arguments", format!("{}: {}", line.place, line.text))),
    );
    lines.extend(contents.unread.iter().map(|it| ("not read", format!("{}: {}", it.place, it.why))));
    let line = |(head, text): &(&str, String)| format!("{head:<11}{}", text.replace('\n', "\\n"));
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn boot_code(contents: &Contents) -> String {
    let what = match contents.boot_code.kind {
        BootCodeKind::None => "none".to_owned(),
        BootCodeKind::Grub { core_sector, core: true } => {
            format!("GRUB, the rest of it at sector {core_sector}")
        }
        BootCodeKind::Grub { core_sector, core: false } => {
            format!("GRUB, the rest of it missing at sector {core_sector}")
        }
        BootCodeKind::Chain { name } => format!("{name}'s, which starts the active partition"),
        BootCodeKind::Lilo => "LILO".to_owned(),
        BootCodeKind::Unknown => "of a kind that is not known here".to_owned(),
    };
    let signature = if contents.boot_code.signature { "" } else { ", without 55 AA at its end" };
    format!("{what}{signature}")
}

fn loader(contents: &Contents, loader: &ami_run_inspect::Loader) -> String {
    let what = match loader.machine {
        Machine::None => "no EFI program".to_owned(),
        machine => format!("{} for {machine}", loader.kind),
    };
    let signed = if loader.signed { ", signed" } else { "" };
    let next = starts(contents, loader).map(|next| format!(", starts {}", next.path)).unwrap_or_default();
    format!("{}: {what}{signed}{next}", Place::path(loader.partition, &loader.path))
}
