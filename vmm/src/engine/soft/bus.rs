//! What a vCPU reaches while it runs: RAM, devices, and registers outside the core.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use stallbox_aarch64::{Bus, BusError, Size};
use stallbox_firmware::layout::RAM_BASE;
use stallbox_machine::World;
use stallbox_machine::check::{PageWatch, Store};
use stallbox_timeline::{Span, Time, YieldRequest};
use vm_memory::{VolatileMemory, VolatileSlice};

use super::Board;
use super::schedule::Schedule;

/// One vCPU's view of the world during a slice.
pub(super) struct CoreBus<'a> {
    pub(super) world: &'a World,
    pub(super) board: &'a Board,
    pub(super) ram: VolatileSlice<'a>,
    pub(super) cpu: usize,
    pub(super) start: Time,
    pub(super) end: Time,
    pub(super) instruction: Span,
    pub(super) attention: bool,
    /// Is told of the places where races live.
    pub(super) schedule: &'a mut Schedule,
    /// It was told so.
    pub(super) attended: bool,
    /// What an access set going was interrupted: the vCPU waits for it.
    pub(super) interrupted: bool,
    pub(super) request: &'a YieldRequest,
    /// Pages whose stores a checker wants to know of.
    pub(super) watch: Option<&'a PageWatch>,
}

/// Whether something is due before the slice ends.
pub(super) fn is_event_before(world: &World, end: Time) -> bool {
    let next = world.timeline.next_event();
    next.is_some_and(|event| event < end)
}

impl<'a> CoreBus<'a> {
    fn time(&self, when: u64) -> Time {
        self.start + self.instruction * when
    }

    /// After the world was touched: an event may be due before the slice ends, or another vCPU may
    /// have an interrupt.
    fn touched(&mut self) {
        if self.world.is_unfinished() {
            self.interrupted = true;
            return;
        }
        self.attention |= self.board.any_signalled() || is_event_before(self.world, self.end);
    }

    /// It has done something that others can see. Whether the schedule ends the slice for it.
    #[inline(always)]
    fn point(&mut self) -> bool {
        let ends = self.schedule.came_to_point(self.cpu);
        self.attention |= ends;
        ends
    }

    #[cold]
    fn read_device(&mut self, when: u64, address: u64, data: &mut [u8]) -> Result<(), BusError> {
        let answered = self.world.read_device(self.time(when), address, data);
        self.point();
        self.touched();
        if answered { Ok(()) } else { Err(BusError) }
    }

    #[cold]
    fn write_device(&mut self, when: u64, address: u64, data: &[u8]) -> Result<(), BusError> {
        let answered = self.world.write_device(self.time(when), address, data);
        self.point();
        self.touched();
        if answered { Ok(()) } else { Err(BusError) }
    }

    /// A store to RAM of which a checker may want to know.
    #[cold]
    fn watched(&mut self, watch: &PageWatch, when: u64, offset: usize, old: u64) {
        let at = offset & !7;
        let new = self.ram.get_atomic_ref::<AtomicU64>(at);
        if let Ok(new) = new {
            watch.stored(Store {
                time_ps: self.time(when).as_ps(),
                at: RAM_BASE + at as u64,
                old,
                new: new.load(Ordering::Relaxed),
            });
        }
    }

    /// The descriptor that a store to a watched page is about to change.
    #[inline(always)]
    fn before_store(&self, offset: usize) -> Option<(&'a PageWatch, u64)> {
        let watch = self.watch?;
        if !watch.watches(offset) {
            return None;
        }
        let old = self.ram.get_atomic_ref::<AtomicU64>(offset & !7).ok()?;
        Some((watch, old.load(Ordering::Relaxed)))
    }

    /// The offset in RAM of `address`, if an access of `bytes` lies there.
    #[inline(always)]
    fn ram_offset(&self, address: u64, bytes: u64) -> Option<usize> {
        let offset = address.wrapping_sub(RAM_BASE);
        let length = self.ram.len() as u64;
        (offset < length && length - offset >= bytes).then_some(offset as usize)
    }
}

/// The CPU hands over aligned addresses only, so that a reference cannot fail inside RAM.
macro_rules! load {
    ($bus:expr, $offset:expr, $atomic:ty) => {
        $bus.ram
            .get_atomic_ref::<$atomic>($offset)
            .map(|cell| cell.load(Ordering::Relaxed).into())
            .map_err(|_| BusError)
    };
}

macro_rules! store {
    ($bus:expr, $offset:expr, $atomic:ty, $value:expr) => {
        $bus.ram
            .get_atomic_ref::<$atomic>($offset)
            .map(|cell| cell.store($value, Ordering::Relaxed))
            .map_err(|_| BusError)
    };
}

impl Bus for CoreBus<'_> {
    #[inline(always)]
    fn read(&mut self, when: u64, address: u64, size: Size) -> Result<u64, BusError> {
        if let Some(offset) = self.ram_offset(address, size.bytes()) {
            return match size {
                Size::Byte => load!(self, offset, AtomicU8),
                Size::Half => load!(self, offset, AtomicU16),
                Size::Word => load!(self, offset, AtomicU32),
                Size::Double => load!(self, offset, AtomicU64),
            };
        }
        let mut data = [0; 8];
        self.read_device(when, address, &mut data[..size.bytes() as usize])?;
        Ok(u64::from_le_bytes(data))
    }

    #[inline(always)]
    fn write(&mut self, when: u64, address: u64, size: Size, value: u64) -> Result<(), BusError> {
        if let Some(offset) = self.ram_offset(address, size.bytes()) {
            let before = self.before_store(offset);
            let stored = match size {
                Size::Byte => store!(self, offset, AtomicU8, value as u8),
                Size::Half => store!(self, offset, AtomicU16, value as u16),
                Size::Word => store!(self, offset, AtomicU32, value as u32),
                Size::Double => store!(self, offset, AtomicU64, value),
            };
            if let Some((watch, old)) = before {
                self.watched(watch, when, offset, old);
            }
            return stored;
        }
        self.write_device(when, address, &value.to_le_bytes()[..size.bytes() as usize])
    }

    #[inline(always)]
    fn read_pair(&mut self, when: u64, address: u64) -> Result<u128, BusError> {
        if let Some(offset) = self.ram_offset(address, 16) {
            let low: u64 = load!(self, offset, AtomicU64)?;
            let high: u64 = load!(self, offset + 8, AtomicU64)?;
            return Ok(u128::from(high) << 64 | u128::from(low));
        }
        let mut data = [0; 16];
        self.read_device(when, address, &mut data)?;
        Ok(u128::from_le_bytes(data))
    }

    #[inline(always)]
    fn write_pair(&mut self, when: u64, address: u64, value: u128) -> Result<(), BusError> {
        if let Some(offset) = self.ram_offset(address, 16) {
            for (offset, value) in [(offset, value as u64), (offset + 8, (value >> 64) as u64)] {
                let before = self.before_store(offset);
                store!(self, offset, AtomicU64, value)?;
                if let Some((watch, old)) = before {
                    self.watched(watch, when, offset, old);
                }
            }
            return Ok(());
        }
        self.write_device(when, address, &value.to_le_bytes())
    }

    #[inline(always)]
    fn is_ram(&self, address: u64) -> bool {
        self.ram_offset(address, 1).is_some()
    }

    fn sysreg_read(&mut self, when: u64, register: u16) -> Option<u64> {
        let now = self.time(when);
        let value = self.board.timers.sysreg_read(self.cpu, register, now);
        let value = value.or_else(|| {
            // An interrupt is taken.
            self.point();
            self.board.gic.sysreg_read(self.cpu, register)
        });
        self.touched();
        value
    }

    fn sysreg_write(&mut self, when: u64, register: u16, value: u64) -> Option<()> {
        let now = self.time(when);
        self.world.timeline.set_now(now);
        let timers = &self.board.timers;
        let done = timers.sysreg_write(self.cpu, register, value, now);
        let done = done.or_else(|| {
            // One is ended, or sent to another vCPU.
            self.point();
            self.board.gic.sysreg_write(self.cpu, register, value)
        });
        self.touched();
        done
    }

    #[inline(always)]
    fn irq(&self) -> bool {
        self.board.gic.irq(self.cpu)
    }

    #[inline(always)]
    fn fiq(&self) -> bool {
        self.board.gic.fiq(self.cpu)
    }

    #[inline(always)]
    fn wants_stop(&self) -> bool {
        self.interrupted || self.request.is_set() || self.watch.is_some_and(PageWatch::is_pending)
    }

    #[inline(always)]
    fn attention(&mut self) -> bool {
        self.attended |= self.attention;
        self.attention
    }

    #[inline(always)]
    fn agreed(&mut self) -> bool {
        self.point()
    }
}
