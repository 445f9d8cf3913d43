//! The guest's first access to each register that the machine does not model: told to the user, and in
//! the trace. What reads as zero and is not heard of costs a driver's author a day.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use stallbox_devices::mmio::{Part, Unmodelled};
use stallbox_devices::pcie::RequesterId;
use stallbox_output::tell;
use stallbox_trace::{Block, Event, Hex, Tracer};

/// So many registers are told of; a guest that sweeps through all of them is not told of for ever.
const REGISTERS_MAX: usize = 256;

fn block_of(bar: u8) -> Block {
    match bar {
        0 => Block::Bar0,
        1 => Block::Bar1,
        2 => Block::Bar2,
        3 => Block::Bar3,
        4 => Block::Bar4,
        _ => Block::Bar5,
    }
}

/// Which registers have been told of.
#[derive(Default)]
pub(super) struct UnmodelledRegisters(RefCell<BTreeSet<(Block, Unmodelled)>>);

/// An access.
pub(super) enum Access<'a> {
    Read(&'a [u8]),
    Write(&'a [u8]),
}

impl Access<'_> {
    fn is_write(&self) -> bool {
        matches!(self, Access::Write(_))
    }

    fn value(&self) -> u64 {
        let (Access::Read(data) | Access::Write(data)) = self;
        let mut bytes = [0; 8];
        for (byte, value) in bytes.iter_mut().zip(*data) {
            *byte = *value;
        }
        u64::from_le_bytes(bytes)
    }
}

/// Bus, device and function, as Linux writes them.
struct Function(RequesterId);

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequesterId(id) = self.0;
        write!(f, "{:02x}:{:02x}.{}", id >> 8, id >> 3 & 0x1f, id & 7)
    }
}

impl UnmodelledRegisters {
    /// An access to the block called `block` met `register`.
    pub(super) fn met(
        &self,
        tracer: &Tracer,
        block: Block,
        register: Unmodelled,
        access: &Access<'_>,
    ) {
        let mut key = register;
        if matches!(key.part, Part::Config(_)) && !access.is_write() {
            // Whoever lists devices reads all of it: once for each function will do.
            key.offset = 0;
        }
        let mut told = self.0.borrow_mut();
        if told.len() > REGISTERS_MAX || !told.insert((block, key)) {
            return;
        }
        if told.len() > REGISTERS_MAX {
            tell!(
                "stallbox: {REGISTERS_MAX} registers that are not modelled were used; no more will be told of"
            );
            return;
        }
        drop(told);

        let offset = register.offset;
        let (part, whose) = match register.part {
            Part::Block => (block, None),
            Part::Config(id) => (Block::Config, Some(id)),
            Part::Bar(id, bar) => (block_of(bar), Some(id)),
        };
        let named = part.name();
        let place = match whose {
            Some(id) => format!("{} {named}", Function(id)),
            None => named.to_owned(),
        };
        let value = access.value();
        if access.is_write() {
            tell!(
                "stallbox: the guest wrote {value:#x} to {place} {offset:#x}, which is not modelled: \
                 ignored (told once)"
            );
        } else {
            tell!(
                "stallbox: the guest read {place} {offset:#x}, which is not modelled: {value:#x} \
                 (told once)"
            );
        }
        tracer.emit(Event::Unmodelled {
            block: part,
            stream: whose.map(|id| id.0.into()),
            offset: Hex(offset),
            write: access.is_write(),
            value: Hex(value),
        });
    }
}

#[cfg(test)]
mod tests {
    use stallbox_timeline::Timeline;

    use super::*;

    /// The first line of any trace.
    const BEFORE: u64 = 1;

    fn register(offset: u64) -> Unmodelled {
        let part = Part::Bar(RequesterId(8), 2);
        Unmodelled { part, offset }
    }

    #[test]
    fn each_register_is_told_of_once_and_their_number_is_bounded() {
        let tracer = Tracer::new(Timeline::new(), None);
        let registers = UnmodelledRegisters::default();
        let count = || tracer.summary().events - BEFORE;
        registers.met(
            &tracer,
            Block::PcieWindow,
            register(0x40),
            &Access::Read(&[0; 4]),
        );
        registers.met(
            &tracer,
            Block::PcieWindow,
            register(0x40),
            &Access::Write(&[1; 4]),
        );
        assert_eq!(count(), 1);
        registers.met(
            &tracer,
            Block::PcieWindow,
            register(0x44),
            &Access::Write(&[1; 4]),
        );
        assert_eq!(count(), 2);
        let config = |offset| Unmodelled {
            part: Part::Config(RequesterId(8)),
            offset,
        };
        for offset in (0x94..0x1000).step_by(4) {
            registers.met(
                &tracer,
                Block::PcieWindow,
                config(offset),
                &Access::Read(&[0; 4]),
            );
        }
        assert_eq!(count(), 3);
        for offset in (0..0x1_0000).step_by(4) {
            registers.met(
                &tracer,
                Block::PcieWindow,
                register(offset),
                &Access::Read(&[0; 16]),
            );
        }
        assert_eq!(count(), REGISTERS_MAX as u64);
    }
}
