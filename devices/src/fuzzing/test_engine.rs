//! The test engine: its registers, rings and descriptors, and page requests that are answered
//! anyhow or not at all.

use arbitrary::{Result, Unstructured};
use stallbox_timeline::Span;

use super::{Reached, data, pattern, play, repeated};
use crate::dma::PageResponseCode;
use crate::function::DeviceNote;
use crate::pcie::PciFunction;
use crate::test_engine::FaultMode;
use crate::test_engine::testing::{
    DESTINATION, Descriptor, Guest, PASID, Queue, RINGS, SOURCE, Setup, block, nop, window,
};

/// How much of each buffer is not zero.
const FILLED: usize = 16 << 10;

pub(super) fn run(bytes: &mut Unstructured<'_>) -> Result<Reached> {
    let fault = *bytes.choose(&[
        FaultMode::Stall,
        FaultMode::PageRequest { prefill: false },
        FaultMode::PageRequest { prefill: true },
    ])?;
    let guest = Guest::with(fault);
    let noise = pattern(bytes)?;
    for buffer in [SOURCE, DESTINATION] {
        guest.place(buffer, &repeated(&noise, FILLED));
    }
    let setup = Setup {
        depth: bytes.int_in_range(1..=8)?,
        access_log2: bytes.int_in_range(6..=12)?,
        ..Setup::default()
    };
    let mut queues = [guest.start(0, setup), guest.start(1, setup)];

    play(bytes, |bytes| act(&guest, &mut queues, bytes));

    recover(&guest);
    let mut reached = Reached::default();
    reached.add("interrupt", guest.memory.msis.borrow().len() as u64);
    let requests = guest.memory.page_requests.borrow().len();
    reached.add("page_request", requests as u64);
    for note in &*guest.recorder.0.borrow() {
        reached.add(name(note), 1);
    }
    Ok(reached)
}

fn name(note: &DeviceNote) -> &'static str {
    match note {
        DeviceNote::QueueEnabled { .. } => "enabled",
        DeviceNote::QueueDisabled { .. } => "disabled",
        DeviceNote::QueueFailed { .. } => "queue_failed",
        DeviceNote::Doorbell { .. } => "doorbell",
        DeviceNote::DoorbellIgnored { .. } => "doorbell_ignored",
        DeviceNote::JobStarted { .. } => "started",
        DeviceNote::JobDone { status: 0, .. } => "done",
        DeviceNote::JobDone {
            status: 0x80..0x90, ..
        } => "refused",
        DeviceNote::JobDone { .. } => "failed",
        DeviceNote::JobDropped { .. } => "dropped",
        DeviceNote::Completed { .. } => "completed",
        DeviceNote::DmaAborted { .. } => "aborted",
        DeviceNote::Msi { .. } => "msi",
        DeviceNote::Reset => "reset",
        // It has none.
        DeviceNote::Mailbox { .. } => "mailbox",
    }
}

fn act(guest: &Guest, queues: &mut [Queue; 2], bytes: &mut Unstructured<'_>) -> Result<()> {
    match bytes.int_in_range(0..=19)? {
        0..=3 => {
            let (bar, at) = register(bytes)?;
            guest.function.bar_write(bar, at, &data(bytes)?);
        }
        4 => {
            let (bar, at) = register(bytes)?;
            let width = bytes.int_in_range(1..=16)?;
            guest.function.bar_read(bar, at, &mut [0; 16][..width]);
        }
        5 => {
            let at = bytes.int_in_range(0..=1023_u16)? * 4;
            let value = bytes.arbitrary::<u32>()?;
            guest.function.config_write(at, &value.to_le_bytes());
        }
        6..=12 => {
            let at = bytes.choose_index(queues.len())?;
            let queue = &mut queues[at];
            guest.put(queue, &descriptor(bytes)?);
            guest.ring(queue);
        }
        13 => {
            let at = bytes.choose_index(queues.len())?;
            while guest.poll(&mut queues[at]).is_some() {}
            guest.release(&queues[at]);
        }
        14 => {
            let at = address(bytes)?;
            guest.memory.stall(at..at.saturating_add(64));
        }
        15 => {
            let at = address(bytes)?;
            let mut aborts = guest.memory.aborts.borrow_mut();
            aborts.push(at..at.saturating_add(64));
        }
        16 => {
            let page = address(bytes)? & !0xfff;
            let mut absent = guest.memory.absent.borrow_mut();
            absent.push(page..page.saturating_add(0x2000));
        }
        17 | 18 => answer(guest, bytes)?,
        _ => guest.memory.release(),
    }
    guest.advance(Span::from_ns(bytes.arbitrary::<u16>()?.into()));
    Ok(())
}

/// Mostly where something is.
fn register(bytes: &mut Unstructured<'_>) -> Result<(u8, u64)> {
    let queue = bytes.int_in_range(0..=3)?;
    Ok(match bytes.int_in_range(0..=5)? {
        0 => (0, bytes.int_in_range(0..=0x1f)?),
        1 | 2 => (0, block(queue) + bytes.int_in_range(0..=0x3f)?),
        3 => (2, window(queue) + bytes.int_in_range(0..=0xf)?),
        // MSI-X.
        4 => (0, 0xa000 + bytes.int_in_range(0..=0x1fff)?),
        _ => (
            bytes.int_in_range(0..=5)?,
            bytes.int_in_range(0..=0x3_ffff)?,
        ),
    })
}

fn address(bytes: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match bytes.int_in_range(0..=7)? {
        0..=2 => SOURCE + u64::from(bytes.arbitrary::<u16>()?),
        3..=5 => DESTINATION + u64::from(bytes.arbitrary::<u16>()?),
        6 => u64::MAX - u64::from(bytes.arbitrary::<u8>()?),
        _ => bytes.arbitrary()?,
    })
}

/// A descriptor that may well be one.
fn descriptor(bytes: &mut Unstructured<'_>) -> Result<Descriptor> {
    let small = |bytes: &mut Unstructured<'_>| -> Result<u64> {
        Ok(match bytes.int_in_range(0..=7)? {
            0 => bytes.arbitrary()?,
            1 => 0,
            // Lengths of nodes and elements.
            2..=4 => 8 * bytes.int_in_range(1..=64_u64)?,
            _ => bytes.arbitrary::<u16>()?.into(),
        })
    };
    Ok(Descriptor {
        opcode: bytes.int_in_range(0..=9)?,
        flags: *bytes.choose(&[0, 1, 2, 3, 0xff])?,
        reserved: u16::from(bytes.int_in_range(0..=31)? == 0),
        count: match bytes.int_in_range(0..=3)? {
            0 => bytes.arbitrary()?,
            _ => bytes.int_in_range(0..=40)?,
        },
        tag: bytes.arbitrary()?,
        source: address(bytes)? & !(*bytes.choose(&[0_u64, 7])?),
        destination: address(bytes)? & !(*bytes.choose(&[0_u64, 7])?),
        length: small(bytes)?,
        operand: small(bytes)?,
        source_stride: small(bytes)?,
        destination_stride: small(bytes)?,
    })
}

/// Software answers one of the page requests, perhaps for the second time.
fn answer(guest: &Guest, bytes: &mut Unstructured<'_>) -> Result<()> {
    let count = guest.memory.page_requests.borrow().len();
    if count == 0 {
        return Ok(());
    }
    let code = *bytes.choose(&[
        PageResponseCode::Success,
        PageResponseCode::Success,
        PageResponseCode::InvalidRequest,
        PageResponseCode::Failure,
    ])?;
    // One of the last is more likely to be waited for.
    let back = bytes.int_in_range(0..=count.min(8) - 1)?;
    guest.memory.answer(count - 1 - back, code);
    Ok(())
}

/// Whatever has happened, a reset ends it, and a driver gets a descriptor done.
fn recover(guest: &Guest) {
    guest.write(0, 0x10, 1);
    guest.memory.release();
    guest.advance(Span::from_ms(1000));
    assert!(guest.function.is_idle(), "after a reset");
    assert_eq!(guest.timeline.live_tasks(), 0);
    guest.memory.aborts.borrow_mut().clear();
    guest.memory.absent.borrow_mut().clear();
    // Memory Space and Bus Master Enable.
    guest.config16(0x04, 0x0006);
    let pasid = guest.extended(0x1b);
    guest.config16(pasid + 6, 1);
    guest.place(RINGS, &[0; 0x2000]);
    let setup = Setup {
        pasid: 1 << 31 | PASID,
        ..Setup::default()
    };
    let mut queue = guest.start(0, setup);
    let done = guest.run(&mut queue, &[nop(7)]);
    assert_eq!((done[0].status, done[0].tag), (0, 7));
}
