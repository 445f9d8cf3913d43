//! The real-time clock: a PL031 (Arm DDI 0224) that counts virtual seconds, so that two runs see
//! the same dates.
//!
//! The 1 Hz clock ticks on whole seconds of the timeline. The firmware has started it: Control
//! reads as running, and cannot be stopped.

pub mod spec;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use stallbox_timeline::{EventId, Span, Time, Timeline};

use crate::irq::IrqLine;
use crate::mmio::{MmioDevice, Unmodelled};

/// What the clock shows at power-on unless told otherwise: 2026-01-01T00:00:00Z.
pub const DEFAULT_EPOCH_SECONDS: u32 = 1_767_225_600;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// A PL031.
pub struct Rtc(Rc<Inner>);

struct Inner {
    timeline: Timeline,
    irq: Rc<dyn IrqLine>,
    /// What the counter showed at [`Time::ZERO`], modulo 2^32.
    offset_seconds: Cell<u32>,
    load: Cell<u32>,
    alarm: Cell<u32>,
    mask: Cell<bool>,
    raw: Cell<bool>,
    asserted: Cell<bool>,
    event: RefCell<Option<EventId>>,
}

impl Rtc {
    /// A clock that shows `epoch_seconds` (since 1970) at power-on.
    pub fn new(timeline: &Timeline, irq: Rc<dyn IrqLine>, epoch_seconds: u32) -> Rtc {
        Rtc(Rc::new(Inner {
            timeline: timeline.clone(),
            irq,
            offset_seconds: Cell::new(epoch_seconds),
            load: Cell::new(epoch_seconds),
            alarm: Cell::new(0),
            mask: Cell::new(false),
            raw: Cell::new(false),
            asserted: Cell::new(false),
            event: RefCell::new(None),
        }))
    }
}

impl MmioDevice for Rtc {
    fn read(&self, offset: u64, data: &mut [u8]) -> Option<Unmodelled> {
        let register = self.0.read(offset & !3);
        let value = register.unwrap_or(0).to_le_bytes();
        data.fill(0);
        for (byte, value) in data
            .iter_mut()
            .zip(value.iter().skip((offset & 3) as usize))
        {
            *byte = *value;
        }
        absent(register, offset)
    }

    // Registers are written whole; a narrower access is no access that the bus (APB) has.
    fn write(&self, offset: u64, data: &[u8]) -> Option<Unmodelled> {
        let register = self.0.read(offset & !3);
        match data.first_chunk() {
            Some(word) if offset.is_multiple_of(4) => {
                self.0.write(offset, u32::from_le_bytes(*word));
                absent(register, offset)
            }
            _ => Some(Unmodelled::in_block(offset)),
        }
    }
}

fn absent(register: Option<u32>, offset: u64) -> Option<Unmodelled> {
    register
        .is_none()
        .then(|| Unmodelled::in_block(offset & !3))
}

impl Inner {
    /// `None` if there is no such register.
    fn read(&self, register: u64) -> Option<u32> {
        Some(match register {
            spec::DATA => self.counter(),
            spec::MATCH => self.alarm.get(),
            spec::LOAD => self.load.get(),
            spec::CONTROL => 1,
            spec::INTERRUPT_MASK => self.mask.get().into(),
            spec::RAW_STATUS => self.raw.get().into(),
            spec::MASKED_STATUS => (self.raw.get() && self.mask.get()).into(),
            // Write-only.
            spec::INTERRUPT_CLEAR => 0,
            spec::IDENTIFICATION..0x1000 => {
                let index = (register - spec::IDENTIFICATION) / 4;
                spec::IDENTIFICATION_BYTES[index as usize].into()
            }
            _ => return None,
        })
    }

    fn write(self: &Rc<Self>, register: u64, value: u32) {
        match register {
            spec::MATCH => {
                self.alarm.set(value);
                self.set_alarm();
            }
            spec::LOAD => {
                self.load.set(value);
                self.offset_seconds
                    .set(value.wrapping_sub(self.elapsed_seconds() as u32));
                self.set_alarm();
            }
            spec::INTERRUPT_MASK => self.mask.set(value & 1 != 0),
            spec::INTERRUPT_CLEAR if value & 1 != 0 => self.raw.set(false),
            _ => {}
        }
        self.drive();
    }

    fn elapsed_seconds(&self) -> u64 {
        self.timeline.now().as_ns() / NS_PER_SECOND
    }

    fn counter(&self) -> u32 {
        self.offset_seconds
            .get()
            .wrapping_add(self.elapsed_seconds() as u32)
    }

    /// Plans the tick at which the counter reaches the match value.
    fn set_alarm(self: &Rc<Self>) {
        if let Some(event) = self.event.take() {
            self.timeline.cancel(event);
        }
        let seconds = self.alarm.get().wrapping_sub(self.counter());
        if seconds == 0 {
            self.raw.set(true);
            return;
        }
        let tick = self.elapsed_seconds() + u64::from(seconds);
        let at = Time::ZERO + Span::from_ns(tick.saturating_mul(NS_PER_SECOND));
        // Beyond the end of virtual time: the power-on match value of 0 lies there.
        if at == Time::NEVER {
            return;
        }
        let clock = Rc::downgrade(self);
        let event = self.timeline.at(at, move || {
            if let Some(clock) = clock.upgrade() {
                clock.event.take();
                clock.raw.set(true);
                clock.drive();
            }
        });
        self.event.replace(Some(event));
    }

    fn drive(&self) {
        let level = self.raw.get() && self.mask.get();
        if self.asserted.replace(level) != level {
            self.irq.set(level);
        }
    }
}
