//! A serial port: the 16550A (National Semiconductor PC16550D data sheet).
//!
//! `vm-superio` has the registers, the FIFO and loopback. Interrupts are done here: a 16550's
//! output is a *level*, high for as long as an enabled condition holds, while the library counts
//! edges and forgets received data once IIR was read. The device tree therefore says level, and no
//! order of driver steps can lose an interrupt.
//!
//! Registers are one byte each, side by side (`reg-shift` 0). Characters take no time, there are
//! no line errors, and a character is available as soon as it arrives, whatever the trigger level.

pub mod spec;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;

use vm_superio::Trigger;
use vm_superio::serial::NoEvents;

use crate::irq::IrqLine;
use crate::mmio::{MmioDevice, Unmodelled};

/// The far end of the line: where the guest's output goes.
pub trait ConsoleOut {
    /// Takes bytes in the order in which the guest sent them.
    fn write(&self, bytes: &[u8]);
}

/// A 16550A.
pub struct Serial {
    state: RefCell<State>,
    irq: Rc<dyn IrqLine>,
    /// What the line was last driven to.
    asserted: Cell<bool>,
}

struct State {
    uart: vm_superio::Serial<NoTrigger, NoEvents, Output>,
    interrupt_enable: u8,
    fifos: bool,
    /// The transmitter's interrupt: raised when it runs empty, and withdrawn by reading IIR or by
    /// the next character.
    transmit_empty: bool,
    /// Input for which the FIFO has no room yet.
    waiting: VecDeque<u8>,
}

impl Serial {
    /// A port whose output goes to `out`.
    pub fn new(irq: Rc<dyn IrqLine>, out: Box<dyn ConsoleOut>) -> Serial {
        let state = State {
            uart: vm_superio::Serial::new(NoTrigger, Output(out)),
            interrupt_enable: 0,
            fifos: false,
            transmit_empty: false,
            waiting: VecDeque::new(),
        };
        Serial {
            state: RefCell::new(state),
            irq,
            asserted: Cell::new(false),
        }
    }

    /// Input for the guest. What does not fit into the FIFO waits, and goes there as the guest
    /// reads.
    pub fn enqueue(&self, bytes: &[u8]) {
        {
            let mut state = self.state.borrow_mut();
            state.waiting.extend(bytes);
            state.feed();
        }
        self.drive();
    }

    /// Bytes of input that wait for room. Who reads a terminal or a file stops while there are many.
    pub fn waiting(&self) -> usize {
        self.state.borrow().waiting.len()
    }

    /// Drives the line to what the registers now say.
    fn drive(&self) {
        let level = self.state.borrow_mut().pending() != spec::IDENT_NONE;
        if self.asserted.replace(level) != level {
            self.irq.set(level);
        }
    }
}

impl MmioDevice for Serial {
    // One register an access, whatever its width: reading has side effects.
    fn read(&self, offset: u64, data: &mut [u8]) -> Option<Unmodelled> {
        data.fill(0);
        let first = data.first_mut()?;
        if offset >= spec::REGISTERS {
            return Some(Unmodelled::in_block(offset));
        }
        *first = self.state.borrow_mut().read(offset as u8);
        self.drive();
        None
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Unmodelled> {
        let &first = data.first()?;
        if offset >= spec::REGISTERS {
            return Some(Unmodelled::in_block(offset));
        }
        self.state.borrow_mut().write(offset as u8, first);
        self.drive();
        None
    }
}

impl State {
    fn read(&mut self, register: u8) -> u8 {
        match register {
            spec::INTERRUPT_IDENT => {
                let pending = self.pending();
                if pending == spec::IDENT_TRANSMIT_EMPTY {
                    self.transmit_empty = false;
                }
                pending | if self.fifos { spec::IDENT_FIFOS } else { 0 }
            }
            _ => {
                let value = self.uart.read(register);
                self.feed();
                value
            }
        }
    }

    fn write(&mut self, register: u8, value: u8) {
        let latch = self.uart.read(spec::LINE_CONTROL) & spec::DIVISOR_LATCH != 0;
        match register {
            spec::FIFO_CONTROL => {
                // Switching the FIFOs on or off empties them too.
                let fifos = value & spec::FIFO_ENABLE != 0;
                if fifos != self.fifos || value & spec::FIFO_RESET_RECEIVER != 0 {
                    self.discard_received();
                }
                self.fifos = fifos;
            }
            spec::DATA if !latch => self.transmit_empty = true,
            spec::INTERRUPT_ENABLE if !latch => {
                // Enabling it while the transmitter is empty, as it always is here, raises it.
                if value & !self.interrupt_enable & spec::ENABLE_TRANSMIT_EMPTY != 0 {
                    self.transmit_empty = true;
                }
                self.interrupt_enable = value;
            }
            _ => {}
        }
        // The library reports only what our own trigger and output report, which is nothing.
        let _ = self.uart.write(register, value);
        self.feed();
    }

    /// What IIR shows: the pending interrupt of highest priority.
    fn pending(&mut self) -> u8 {
        let enabled = self.interrupt_enable;
        if enabled & spec::ENABLE_RECEIVED != 0 && self.data_ready() {
            spec::IDENT_RECEIVED
        } else if enabled & spec::ENABLE_TRANSMIT_EMPTY != 0 && self.transmit_empty {
            spec::IDENT_TRANSMIT_EMPTY
        } else {
            spec::IDENT_NONE
        }
    }

    fn data_ready(&mut self) -> bool {
        self.uart.read(spec::LINE_STATUS) & spec::DATA_READY != 0
    }

    /// Moves input into the FIFO as far as there is room; in loopback mode the line is cut off.
    fn feed(&mut self) {
        if !self.waiting.is_empty() && self.uart.fifo_capacity() > 0 {
            let part = self.waiting.make_contiguous();
            let taken = self.uart.enqueue_raw_bytes(part).unwrap_or(0);
            self.waiting.drain(..taken);
        }
    }

    fn discard_received(&mut self) {
        // The latch bit would turn the register into the divisor.
        let control = self.uart.read(spec::LINE_CONTROL);
        let _ = self
            .uart
            .write(spec::LINE_CONTROL, control & !spec::DIVISOR_LATCH);
        while self.data_ready() {
            self.uart.read(spec::DATA);
        }
        let _ = self.uart.write(spec::LINE_CONTROL, control);
    }
}

/// The library's interrupt, which is not used.
struct NoTrigger;

impl Trigger for NoTrigger {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Output(Box<dyn ConsoleOut>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
