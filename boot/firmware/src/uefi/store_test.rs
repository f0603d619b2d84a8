//! Tests of store.rs, and with it of the volume's layout, the certificates and the fault-tolerant write, against a
//! model of how EDK II writes: byte by byte, cut anywhere.

use super::*;
use crate::uefi::sample::{AAVMF, GLOBAL, Layout, OVMF_2M, OVMF_4M, SMALL, signed, some, variable};
use crate::uefi::spec::{StoreHeader, VolumeHeader, Write, Writes};
use zerocopy::little_endian::I64;

fn read(image: &[u8]) -> Vec<Variable> {
    Store::parse(image).unwrap().variables
}

#[test]
fn what_is_written_is_read_in_every_layout() {
    for layout in [OVMF_4M, OVMF_2M, AAVMF] {
        let template = layout.empty();
        assert_eq!(read(&template), []);
        for seed in 0..40 {
            let variables = some(seed);
            let image = Store::build(&template, &variables).unwrap();
            assert_eq!(read(&image), variables, "{layout:?}, seed {seed}");
            assert_eq!(image.len(), template.len());
            let changed = image.iter().zip(&template).rposition(|(new, old)| new != old);
            assert!(changed.is_none_or(|at| at < layout.variables), "headers and other areas stay");
            assert_eq!(Store::build(&image, &[]).unwrap(), template, "what the template held is gone");
        }
    }
}

#[test]
fn an_old_write_is_not_finished_over_a_new_store() {
    let steps = rewrite(SMALL, &[variable("Old", b"1")]);
    let spare_is_complete = |image: &&Vec<u8>| image[SMALL.work_at() + 72] & 2 == 0;
    let image = steps.iter().find(spare_is_complete).unwrap();
    let new = [variable("New", b"2")];
    assert_eq!(read(&Store::build(image, &new).unwrap()), new);
}

#[test]
fn the_state_says_which_record_counts() {
    let record = |state: u8, data: &[u8]| {
        let mut bytes = Vec::new();
        write(&variable("V", data), &mut bytes).unwrap();
        bytes[2] = state;
        bytes
    };
    type States<'a> = &'a [(u8, &'a [u8])];
    let cases: [(States<'_>, Option<&[u8]>); 9] = [
        (&[(0x3f, b"whole")], Some(b"whole")),
        (&[(0x3e, b"old.")], Some(b"old.")),
        (&[(0x3e, b"old."), (0x7f, b"torn")], Some(b"old.")),
        (&[(0x3e, b"old."), (0x3f, b"new.")], Some(b"new.")),
        (&[(0x3f, b"1st."), (0x3f, b"2nd.")], Some(b"1st.")),
        (&[(0x3e, b"1st."), (0x3e, b"2nd.")], Some(b"2nd.")),
        (&[(0x3c, b"gone"), (0x3f, b"new.")], Some(b"new.")),
        (&[(0x3d, b"gone")], None),
        (&[(0x7f, b"torn")], None),
    ];
    for (records, expected) in cases {
        let mut image = SMALL.empty();
        let bytes: Vec<u8> = records.iter().flat_map(|(state, data)| record(*state, data)).collect();
        image[100..100 + bytes.len()].copy_from_slice(&bytes);
        let found = read(&image);
        assert_eq!(found.first().map(|it| &it.data[..]), expected, "{records:02x?}");
        assert!(found.len() <= 1);
    }
}

/// An update as VariableDxe does it: the images after each byte.
fn update(image: &[u8], old: usize, new: &Variable) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    write(new, &mut bytes).unwrap();
    bytes[2] = 0xff;
    let at = image[..SMALL.variables].iter().rposition(|byte| *byte != 0xff).unwrap() + 1;
    let at = at.next_multiple_of(4);
    let (header, content) = bytes.split_at(size_of::<Record>());
    let mut program = vec![(old + 2, 0x3e)];
    program.extend(header.iter().enumerate().map(|(index, byte)| (at + index, *byte)));
    program.push((at + 2, 0x7f));
    program.extend(content.iter().enumerate().map(|(index, byte)| (at + header.len() + index, *byte)));
    program.extend([(at + 2, 0x3f), (old + 2, 0x3c)]);
    let mut image = image.to_vec();
    let mut images = vec![image.clone()];
    for (at, byte) in program {
        image[at] &= byte;
        images.push(image.clone());
    }
    images
}

#[test]
fn an_update_cut_at_any_byte_leaves_the_old_or_the_new() {
    let (old, other, new) =
        (variable("BootOrder", b"\x01\0"), variable("Lang", b"en"), variable("BootOrder", b"\x02\0\x01\0"));
    let image = Store::build(&SMALL.empty(), &[old.clone(), other.clone()]).unwrap();
    let images = update(&image, 100, &new);
    let mut switched = None;
    for (step, image) in images.iter().enumerate() {
        let found = read(image);
        assert_eq!(found.len(), 2, "step {step}");
        assert!(found.contains(&other), "step {step}");
        assert!(found.contains(&old) || found.contains(&new), "step {step}");
        if found.contains(&new) {
            switched = switched.or(Some(step));
        } else {
            assert_eq!(switched, None, "step {step}: the old is back");
        }
    }
    assert_eq!(switched, Some(images.len() - 2), "it counts from its state on");
}

/// A rewrite of all variables as FaultTolerantWriteDxe does it: the images after each byte or erased block.
fn rewrite(layout: Layout, variables: &[Variable]) -> Vec<Vec<u8>> {
    let start = Store::build(&layout.empty(), variables).unwrap();
    // What is rewritten holds garbage besides, which shows that the spare area's content is taken.
    let new = start[..layout.variables].to_vec();
    let mut images = vec![update(&start, 100, &variables[0]).pop().unwrap()];
    let put = |images: &mut Vec<Vec<u8>>, at: usize, bytes: &[u8]| {
        for (index, byte) in bytes.iter().enumerate() {
            let mut image = images.last().unwrap().clone();
            image[at + index] &= byte;
            images.push(image);
        }
    };
    let erase = |images: &mut Vec<Vec<u8>>, area: Range<usize>| {
        for at in area.step_by(layout.block as usize) {
            let mut image = images.last().unwrap().clone();
            image[at..at + layout.block as usize].fill(0xff);
            images.push(image);
        }
    };
    let (queue, spare) = (layout.work_at() + 32, layout.spare_at());
    let writes = Writes {
        flags: 0xfe,
        padding: [0xff; 3],
        caller: GLOBAL,
        padding_2: [0xff; 4],
        count: U64::new(1),
        private_size: U64::ZERO,
    };
    let record = Write {
        flags: 0xff,
        padding: [0xff; 7],
        block: U64::ZERO,
        offset: U64::new(72),
        length: U64::new(layout.variables as u64 - 72),
        relative_offset: I64::new(-i64::try_from(spare).unwrap()),
    };
    put(&mut images, queue, writes.as_bytes());
    put(&mut images, queue, &[0xfc]);
    put(&mut images, queue + 40, record.as_bytes());
    erase(&mut images, spare..spare + layout.spare);
    put(&mut images, spare, &new);
    put(&mut images, queue + 40, &[0xfd]);
    erase(&mut images, 0..layout.variables);
    put(&mut images, 0, &new);
    put(&mut images, queue + 40, &[0xf9]);
    put(&mut images, queue, &[0xf8]);
    erase(&mut images, spare..spare + layout.spare);
    images
}

#[test]
fn a_rewrite_cut_at_any_byte_leaves_all_variables() {
    let mut variables =
        vec![variable("BootOrder", b"\x01\0"), variable("Boot0001", b"debian"), signed("S", 7)];
    let images = rewrite(SMALL, &variables);
    assert!(images.len() > 2 * SMALL.variables);
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    for (step, image) in images.iter().enumerate() {
        let mut found = Store::parse(image).unwrap_or_else(|error| panic!("step {step}: {error}")).variables;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(found, variables, "step {step}");
    }
    let lost = images.iter().filter(|image| Volume::find(image).is_err()).count();
    assert!(
        lost > size_of::<VolumeHeader>() + size_of::<StoreHeader>() - 10,
        "the header was away, too: {lost}"
    );
}

#[test]
fn signers_are_kept_in_a_table_of_their_own() {
    let unsigned = Variable { authentication: Some(Authentication::none()), ..signed("dbx", 0) };
    let variables = [signed("A", 1), variable("B", b"b"), signed("C", 3), unsigned];
    let image = Store::build(&SMALL.empty(), &variables).unwrap();
    let records = counting(&image, Volume::find(&image).unwrap().variables).unwrap();
    let table =
        records.iter().filter_map(|found| found.variable(&image)).find(certificates::is_table).unwrap();
    assert_eq!(table.data.len(), 4 + 2 * (28 + 2 + 32));
    assert_eq!(table.data[..4], [128, 0, 0, 0]);
    assert_eq!(table.data[4..20], GLOBAL);
    assert_eq!(table.data[20..34], [62, 0, 0, 0, 1, 0, 0, 0, 32, 0, 0, 0, b'A', 0]);
    assert_eq!(read(&image), variables);
    // What somebody gives as the table is not taken for one.
    let again = Store::build(&SMALL.empty(), &[&variables[..], &[table]].concat()).unwrap();
    assert_eq!(again, image);
}

#[test]
fn a_name_that_is_no_text_is_counted_and_the_others_read() {
    let variables = [variable("A", b"a"), variable("B", b"b")];
    let mut image = Store::build(&SMALL.empty(), &variables).unwrap();
    image[160..162].copy_from_slice(&0xd800u16.to_le_bytes());
    let store = Store::parse(&image).unwrap();
    assert_eq!((store.variables(), store.unreadable()), (&variables[1..], 1));
}

#[test]
fn a_record_without_a_name_is_passed_over() {
    let mut image = Store::build(&SMALL.empty(), &[variable("A", b"a"), variable("B", b"b")]).unwrap();
    image[160] = 0;
    assert_eq!(read(&image), [variable("B", b"b")]);
    // Its sizes were never written.
    let mut image = SMALL.empty();
    image[100..104].copy_from_slice(&[0xaa, 0x55, 0x3f, 0]);
    assert_eq!(read(&image), []);
}

#[test]
fn what_is_no_store_is_said() {
    let good = SMALL.empty();
    let changed = |at: usize, bytes: &[u8]| {
        let mut image = good.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        Store::parse(&image).unwrap_err().to_string()
    };
    let said = |image: &[u8]| Store::parse(image).unwrap_err().to_string();
    let cases = [
        (said(b""), "not a UEFI variable store but an empty file"),
        (said(&[0; 100]), "but an empty image"),
        (said(b"#!/bin/sh"), "but something else"),
        (said(b"QFI\xfb and more"), "but a qcow2 file"),
        (said(&good[..good.len() - 1]), "cut short: it has 2047 bytes of 2048"),
        (changed(16, &[0]), "but firmware itself"),
        (changed(44, &[0]), "wrong checksum"),
        (changed(72, &[0x16, 0x36, 0xcf, 0xdd, 0x75, 0x32, 0x64, 0x41]), "no variables are where"),
        (changed(72, &super::super::spec::PLAIN_STORE), "without authenticated variables"),
        (changed(72 + 20, &[0xff]), "never made valid"),
        (changed(72 + 16, &[0, 1, 1, 0]), "longer than itself"),
        (changed(72 + 16, &[27, 0, 0, 0]), "shorter than their header"),
    ];
    for (found, expected) in cases {
        assert!(found.contains(expected), "{found}");
    }
    let mut overrun = Store::build(&good, &[variable("A", b"a")]).unwrap();
    overrun[140] = 0xff;
    overrun[141] = 0xff;
    assert_eq!(Store::parse(&overrun), Err(StoreError::Overrun { offset: 100 }));
}

#[test]
fn what_does_not_fit_or_has_no_name_is_refused() {
    let template = SMALL.empty();
    let build = |variables: &[Variable]| Store::build(&template, variables);
    let room = SMALL.variables - 100;
    let filling = |length: usize| variable("A", &vec![1; length - size_of::<Record>() - 4]);
    assert_eq!(read(&build(&[filling(room)]).unwrap()).len(), 1, "to the last byte");
    assert_eq!(build(&[filling(room + 1)]), Err(StoreError::Full { needed: room + 1, room }));
    let why = |variables: &[Variable]| match build(variables) {
        Err(StoreError::Variable { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(&[variable("", b"x")]), "it has no name");
    assert_eq!(why(&[variable("a\0b", b"x")]), "its name has a NUL in it");
    assert_eq!(why(&[variable("A", b"x"), variable("A", b"y")]), "it is given twice");
    let erased = Variable { attributes: u32::MAX, ..variable("A", b"x") };
    assert!(why(&[erased]).contains("erased flash"));
    let volatile = Variable { attributes: 6, ..variable("A", b"x") };
    assert_eq!(build(&[volatile]).unwrap(), template);
}
