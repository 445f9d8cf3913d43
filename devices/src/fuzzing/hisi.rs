//! The accelerator: everything that a guest can write, and memory full of nonsense.

use arbitrary::{Result, Unstructured};
use stallbox_timeline::Span;

use super::{Reached, data, pattern, play, repeated};
use crate::function::DeviceNote;
use crate::hisi::testing::{
    COMPRESS, CONTEXT, DESTINATION, Guest, Job, LISTS, Queue, RAM_BYTES, SOURCE, XQC, ZLIB,
};
use crate::hisi::{Revision, ZipConfig};
use crate::pcie::PciFunction;

/// How much of each buffer is not zero.
const FILLED: usize = 16 << 10;

const REGISTERS: [u64; 32] = [
    0x0, 0x4, 0x8, 0xc, 0x20, 0x204, 0x300, 0x304, 0x308, 0x30c, 0x1000, 0x2000, 0x3100, 0x10_0000,
    0x10_0004, 0x10_0008, 0x10_000c, 0x10_0040, 0x10_0054, 0x10_0058, 0x10_005c, 0x10_0060,
    0x10_0064, 0x10_0068, 0x10_006c, 0x30_0000, 0x30_0150, 0x30_10a0, 0x30_10a4, 0x30_10a8,
    0x30_10ac, 0x30_1128,
];

pub(super) fn run(bytes: &mut Unstructured<'_>) -> Result<Reached> {
    let revision = *bytes.choose(&[Revision::V2, Revision::V3])?;
    let stop = bytes.arbitrary()?;
    let guest = Guest::with(ZipConfig {
        queues: 8,
        stop_qp: stop,
        flush_qm: stop,
        ..ZipConfig::new(revision)
    });
    let noise = pattern(bytes)?;
    for buffer in [SOURCE, CONTEXT, LISTS] {
        guest.write(buffer, &repeated(&noise, FILLED));
    }
    let mut queues: Vec<Queue> = (0..4).map(|n| guest.start_queue(n, n & 1)).collect();

    play(bytes, |bytes| act(&guest, &mut queues, bytes));

    recover(&guest);
    let mut reached = Reached::default();
    reached.add("interrupt", guest.memory.msis.borrow().len() as u64);
    for note in &*guest.recorder.notes.borrow() {
        reached.add(name(note), 1);
    }
    Ok(reached)
}

fn name(note: &DeviceNote) -> &'static str {
    match note {
        DeviceNote::Doorbell { .. } => "doorbell",
        DeviceNote::DoorbellIgnored { .. } => "doorbell_ignored",
        DeviceNote::Mailbox { status: 0, .. } => "mailbox",
        DeviceNote::Mailbox { .. } => "mailbox_failed",
        DeviceNote::JobStarted { .. } => "job",
        DeviceNote::JobDone { status: 0, .. } => "job_done",
        DeviceNote::JobDone { .. } => "job_failed",
        DeviceNote::JobDropped { .. } => "job_dropped",
        DeviceNote::Completed { .. } => "completed",
        DeviceNote::QueueFailed { .. } => "queue_failed",
        DeviceNote::DmaAborted { .. } => "aborted",
        DeviceNote::Msi { .. } => "msi",
        DeviceNote::Reset => "reset",
        // It has no queue that is enabled but by a mailbox command.
        DeviceNote::QueueEnabled { .. } => "enabled",
        DeviceNote::QueueDisabled { .. } => "disabled",
    }
}

fn act(guest: &Guest, queues: &mut [Queue], bytes: &mut Unstructured<'_>) -> Result<()> {
    match bytes.int_in_range(0..=19)? {
        0..=3 => {
            let bar = *bytes.choose(&[2_u8, 2, 4, 0])?;
            let data = data(bytes)?;
            let at = register(bytes)? & !(data.len() as u64 - 1);
            guest.zip.bar_write(bar, at, &data);
        }
        4 => {
            let bar = *bytes.choose(&[2_u8, 4, 0])?;
            guest.zip.bar_read(bar, register(bytes)?, &mut [0; 16]);
        }
        5 => {
            let at = bytes.int_in_range(0..=1023_u16)? * 4;
            guest
                .zip
                .config_write(at, &bytes.arbitrary::<u32>()?.to_le_bytes());
        }
        6..=8 => doorbell(guest, bytes)?,
        9..=11 => {
            let command = bytes.int_in_range(0..=15)?;
            let (queue, read) = (bytes.int_in_range(0..=8)?, bytes.arbitrary()?);
            let base = match bytes.int_in_range(0..=3)? {
                0 => address(bytes)?,
                _ => XQC,
            };
            let words = Guest::mailbox_words(command, queue, base, read);
            guest.zip.bar_write(2, 0x300, &words);
        }
        12 | 13 => guest.write_words(XQC, &context(bytes)?),
        14..=16 => {
            let entry = entry(bytes)?;
            let at = bytes.choose_index(queues.len())?;
            guest.send(&mut queues[at], &entry);
        }
        17 => {
            let at = address(bytes)?;
            guest.memory.stall(at..at.saturating_add(64));
        }
        18 => {
            let at = address(bytes)?;
            let mut aborts = guest.memory.aborts.borrow_mut();
            aborts.push(at..at.saturating_add(64));
        }
        _ => guest.memory.release(),
    }
    guest.advance(Span::from_ns(bytes.arbitrary::<u16>()?.into()));
    Ok(())
}

fn register(bytes: &mut Unstructured<'_>) -> Result<u64> {
    match bytes.arbitrary()? {
        true => bytes.int_in_range(0..=(4 << 20) - 1),
        false => bytes.choose(&REGISTERS).copied(),
    }
}

/// Addresses that lead somewhere, nowhere, and over the end.
fn address(bytes: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match bytes.int_in_range(0..=7)? {
        0..=3 => {
            let buffer = bytes.choose(&[SOURCE, DESTINATION, CONTEXT, LISTS])?;
            buffer + u64::from(bytes.arbitrary::<u8>()?)
        }
        4 => bytes.int_in_range(0..=RAM_BYTES)?,
        5 => RAM_BYTES - 8 + u64::from(bytes.arbitrary::<u8>()? & 0xf),
        6 => u64::MAX - u64::from(bytes.arbitrary::<u16>()?),
        _ => bytes.arbitrary()?,
    })
}

fn doorbell(guest: &Guest, bytes: &mut Unstructured<'_>) -> Result<()> {
    let queue = bytes.int_in_range(0..=8_u64)?;
    let command = bytes.int_in_range(0..=4_u64)?;
    let index = match bytes.int_in_range(0..=3)? {
        0 => u64::from(bytes.arbitrary::<u16>()?),
        _ => bytes.int_in_range(0..=8)?,
    };
    let priority = bytes.int_in_range(0..=2_u64)?;
    let tag = match bytes.int_in_range(0..=3)? {
        0 => u64::from(bytes.arbitrary::<u16>()?),
        _ => 0,
    };
    let value = queue | command << 12 | tag << 16 | index << 32 | priority << 48;
    let value = value.to_le_bytes();
    match bytes.int_in_range(0..=2)? {
        0 => guest.zip.bar_write(4, queue << 16 | 0x1000, &value),
        1 => guest.zip.bar_write(2, 0x1000, &value),
        _ => guest.zip.bar_write(2, 0x2000, &value),
    };
    Ok(())
}

/// A queue's context, or an event ring's, that may well be good.
fn context(bytes: &mut Unstructured<'_>) -> Result<[u32; 8]> {
    let mut words = bytes.arbitrary::<[u32; 8]>()?;
    if bytes.int_in_range(0..=3)? != 0 {
        let base = address(bytes)?;
        (words[1], words[2]) = (base as u32, (base >> 32) as u32);
        words[3] = bytes.int_in_range(0..=15)? | *bytes.choose(&[4, 7])? << 12;
        words[4] = 0;
        words[6] = bytes.int_in_range(0..=4)? | bytes.int_in_range(0..=2)? << 24;
    }
    Ok(words)
}

/// A job that may well be one.
fn entry(bytes: &mut Unstructured<'_>) -> Result<[u32; 32]> {
    if bytes.int_in_range(0..=7)? == 0 {
        return bytes.arbitrary();
    }
    let mut entry = [0; 32];
    entry[4] = bytes.arbitrary::<u16>()?.into();
    let flags = bytes.arbitrary::<u8>()?;
    entry[7] = u32::from(flags & 0xf) << 24 | u32::from(flags >> 4 & 3) << 28;
    entry[8] = u32::from(bytes.arbitrary::<u8>()?) & 0x3;
    // Algorithm, kind of buffer, window.
    entry[9] = bytes.int_in_range(0..=5)?
        | bytes.int_in_range(0..=2)? << 8
        | bytes.int_in_range(0..=5)? << 12;
    entry[14] = bytes.arbitrary::<u16>()?.into();
    for at in [18, 20, 22] {
        let address = address(bytes)?;
        (entry[at], entry[at + 1]) = (address as u32, (address >> 32) as u32);
    }
    (entry[30], entry[31]) = (bytes.arbitrary()?, bytes.arbitrary()?);
    Ok(entry)
}

/// Whatever has happened, a driver can reset the function, start anew, and get a job done.
fn recover(guest: &Guest) {
    // Whatever waits for the bus master goes on when it may.
    guest.write32(0x30_0000, 0);
    guest.settle();
    guest.memory.aborts.borrow_mut().clear();
    let express = guest.find_capability(0x10);
    guest
        .zip
        .config_write(express + 8, &0x8000_u16.to_le_bytes());
    guest.enable_pci();
    guest.start(8);
    let mut queue = guest.start_queue(0, COMPRESS);
    let done = guest.run(
        &mut queue,
        &Job::new(ZLIB, 500, 900).entry(guest.revision, 0),
    );
    assert_eq!(done[3] & 0xff, 0, "a job after a reset");
    guest.settle();
}
