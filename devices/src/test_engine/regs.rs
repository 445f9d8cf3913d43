//! What the registers read, and what a write to one does: BAR0 (the driver's) and BAR2 (a page for
//! each queue, mapped into its process). Reading changes nothing; what is not there reads as zero
//! and ignores writes. Registers are 32 bits wide; 64-bit ones are two, and an access of 8 bytes
//! is one of each.

use super::FaultMode;
use super::engine::Engine;
use super::queue::Queue;
use super::spec::{
    ACCESS_LOG2_MAX, BYTES_MAX, CAPABILITY_ENABLED, CAPABILITY_PAGE_REQUESTS, CAPABILITY_PREFILL,
    COUNT_MAX, DEPTH_MAX, DOORBELL_WINDOW_BYTES, QUEUE_BLOCK_BYTES, QUEUE_BLOCKS, RING_LOG2_MAX,
    global, page, queue,
};
use crate::pcie::capability::replace;

/// What the function is, as CAPABILITY tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) queues: u16,
    pub(super) fault: FaultMode,
}

impl Identity {
    fn capability(self, engine: &Engine) -> u32 {
        let fault = match self.fault {
            FaultMode::Stall => 0,
            FaultMode::PageRequest { prefill: false } => CAPABILITY_PAGE_REQUESTS,
            FaultMode::PageRequest { prefill: true } => {
                CAPABILITY_PAGE_REQUESTS | CAPABILITY_PREFILL
            }
        };
        let enabled = if engine.may_request_pages() {
            CAPABILITY_ENABLED
        } else {
            0
        };
        u32::from(self.queues) | fault | enabled
    }
}

/// What a write to BAR0 asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Reset,
    Enable(u16),
    Disable(u16),
}

/// A write to BAR2 that is a doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doorbell {
    Submit { queue: u16, tail: u32 },
    Take { queue: u16, head: u32 },
}

const LIMITS: u32 = RING_LOG2_MAX | DEPTH_MAX << 8 | ACCESS_LOG2_MAX << 16;

/// The queue whose block holds an offset of BAR0, and the register in it.
fn block(offset: u64) -> Option<(u16, u64)> {
    let at = offset.checked_sub(QUEUE_BLOCKS)?;
    Some((
        u16::try_from(at / QUEUE_BLOCK_BYTES).ok()?,
        at % QUEUE_BLOCK_BYTES,
    ))
}

/// A register of BAR0; `None` if there is none.
pub(super) fn read(identity: Identity, engine: &Engine, register: u64) -> Option<u32> {
    Some(match register {
        global::ID => global::ID_VALUE,
        global::VERSION => global::VERSION_VALUE,
        global::CAPABILITY => identity.capability(engine),
        global::LIMITS => LIMITS,
        global::CONTROL => 0,
        global::STATUS if engine.is_idle() => global::STATUS_IDLE,
        global::STATUS => 0,
        global::BYTES_MAX => BYTES_MAX as u32,
        global::COUNT_MAX => COUNT_MAX,
        _ => {
            let (number, register) = block(register)?;
            return engine.queue(number, |it| read_block(it, register))?;
        }
    })
}

fn read_block(it: &Queue, register: u64) -> Option<u32> {
    let settings = &it.settings;
    let index = |get: fn(&super::queue::Rings) -> u32| it.rings.as_ref().map_or(0, get);
    Some(match register {
        queue::CONTROL => index(|_| queue::CONTROL_ENABLE),
        queue::STATUS => it.status(),
        queue::PASID => settings.pasid,
        queue::GEOMETRY => settings.geometry,
        queue::INTERVAL => settings.interval_ns,
        queue::RATE => settings.rate,
        queue::SQ_TAIL => index(|rings| rings.sq_tail),
        queue::SQ_HEAD => index(|rings| rings.sq_head),
        queue::CQ_TAIL => index(|rings| rings.cq_tail),
        queue::CQ_HEAD => index(|rings| rings.cq_head),
        _ => {
            return half(register, queue::SQ_BASE, settings.sq_base).or(half(
                register,
                queue::CQ_BASE,
                settings.cq_base,
            ));
        }
    })
}

/// A half of the 64-bit register at `base`.
fn half(register: u64, base: u64, value: u64) -> Option<u32> {
    match register.wrapping_sub(base) {
        0 => Some(value as u32),
        4 => Some((value >> 32) as u32),
        _ => None,
    }
}

/// A write to a register of BAR0. Settings of an enabled queue do not change.
pub(super) fn write(engine: &Engine, register: u64, value: u32, enables: u32) -> Option<Request> {
    if register == global::CONTROL {
        return (value & enables & global::CONTROL_RESET != 0).then_some(Request::Reset);
    }
    let (number, register) = block(register)?;
    if register == queue::CONTROL {
        let exists = engine.queue(number, |_| ()).is_some();
        let request = if value & queue::CONTROL_ENABLE != 0 {
            Request::Enable(number)
        } else {
            Request::Disable(number)
        };
        return (exists && enables & queue::CONTROL_ENABLE != 0).then_some(request);
    }
    engine.queue(number, |it| {
        if it.rings.is_none() {
            write_setting(it, register, value, enables);
        }
    });
    None
}

fn write_setting(it: &mut Queue, register: u64, value: u32, enables: u32) {
    let settings = &mut it.settings;
    let word = |old: u32| replace(old, value, enables);
    match register {
        queue::PASID => settings.pasid = word(settings.pasid),
        queue::GEOMETRY => settings.geometry = word(settings.geometry),
        queue::INTERVAL => settings.interval_ns = word(settings.interval_ns),
        queue::RATE => settings.rate = word(settings.rate),
        _ => {
            for (base, setting) in [
                (queue::SQ_BASE, &mut settings.sq_base),
                (queue::CQ_BASE, &mut settings.cq_base),
            ] {
                match register.wrapping_sub(base) {
                    0 => *setting = *setting >> 32 << 32 | u64::from(word(*setting as u32)),
                    4 => {
                        let high = word((*setting >> 32) as u32);
                        *setting = u64::from(high) << 32 | *setting & 0xffff_ffff;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A register of BAR2; `None` if there is none.
pub(super) fn read_page(identity: Identity, engine: &Engine, offset: u64) -> Option<u32> {
    let register = offset % DOORBELL_WINDOW_BYTES;
    let number = u16::try_from(offset / DOORBELL_WINDOW_BYTES).ok()?;
    engine.queue(number, |it| match register {
        page::SQ_TAIL => read_block(it, queue::SQ_TAIL),
        page::CQ_HEAD => read_block(it, queue::CQ_HEAD),
        page::STATUS => Some(it.status()),
        page::GEOMETRY => Some(it.settings.geometry),
        page::CAPABILITY => Some(identity.capability(engine)),
        _ => counter(engine, it, register),
    })?
}

fn counter(engine: &Engine, it: &Queue, register: u64) -> Option<u32> {
    let counters = it.counters.borrow();
    let word = |words: &[u64], at: u64| {
        let long = words.get((at / 8) as usize).copied().unwrap_or(0);
        (long >> (at % 8 * 8)) as u32
    };
    match register {
        page::COUNTERS..page::HISTOGRAM => {
            let words = counters.words(engine.page_requests(it));
            Some(word(&words, register - page::COUNTERS))
        }
        page::HISTOGRAM..page::HISTOGRAM_END => {
            Some(word(&counters.histogram, register - page::HISTOGRAM))
        }
        _ => None,
    }
}

/// A write to BAR2: a doorbell, if it is one aligned word at the address of one.
pub(super) fn write_page(offset: u64, data: &[u8]) -> Option<Doorbell> {
    let index = u32::from_le_bytes(<[u8; 4]>::try_from(data).ok()?);
    let queue = u16::try_from(offset / DOORBELL_WINDOW_BYTES).ok()?;
    match offset % DOORBELL_WINDOW_BYTES {
        page::SQ_TAIL => Some(Doorbell::Submit { queue, tail: index }),
        page::CQ_HEAD => Some(Doorbell::Take { queue, head: index }),
        _ => None,
    }
}
