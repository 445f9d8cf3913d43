//! The driver's side, with offsets and bits from the data sheet, not from `spec`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::{ConsoleOut, Serial};
use crate::irq::IrqLine;
use crate::mmio::MmioDevice;

#[derive(Default)]
struct Line {
    level: Cell<bool>,
    changes: Cell<u32>,
}

impl IrqLine for Line {
    fn set(&self, asserted: bool) {
        assert_ne!(
            self.level.replace(asserted),
            asserted,
            "driven to what it was"
        );
        self.changes.set(self.changes.get() + 1);
    }
}

#[derive(Clone, Default)]
struct Screen(Rc<RefCell<Vec<u8>>>);

impl ConsoleOut for Screen {
    fn write(&self, bytes: &[u8]) {
        self.0.borrow_mut().extend(bytes);
    }
}

fn port() -> (Serial, Rc<Line>, Screen) {
    let (line, screen) = (Rc::new(Line::default()), Screen::default());
    (
        Serial::new(line.clone(), Box::new(screen.clone())),
        line,
        screen,
    )
}

fn read(port: &Serial, register: u64) -> u8 {
    let mut byte = [0xaa];
    port.read(register, &mut byte);
    byte[0]
}

fn write(port: &Serial, register: u64, value: u8) {
    port.write(register, &[value]);
}

#[test]
fn output_arrives_in_order_and_the_transmitter_is_always_empty() {
    let (port, line, screen) = port();
    for byte in b"Linux" {
        assert_eq!(read(&port, 5), 0x60);
        write(&port, 0, *byte);
    }
    assert_eq!(*screen.0.borrow(), b"Linux");
    assert_eq!(line.changes.get(), 0, "no interrupt is enabled");
}

#[test]
fn a_wide_access_touches_one_register() {
    let (port, _, screen) = port();
    port.write(0, &[b'x', 0xff, 0xff, 0xff]);
    assert_eq!(*screen.0.borrow(), b"x");
    assert_eq!(read(&port, 1), 0);
    let mut wide = [0xaa; 4];
    port.read(5, &mut wide);
    assert_eq!(wide, [0x60, 0, 0, 0]);
    assert_eq!(read(&port, 8), 0);
}

#[test]
fn received_data_holds_the_line_until_the_last_byte_is_read() {
    let (port, line, _) = port();
    write(&port, 1, 0x01);
    port.enqueue(b"ab");
    assert!(line.level.get());
    // Reading IIR acknowledges nothing for received data.
    assert_eq!(read(&port, 2), 0x04);
    assert_eq!(read(&port, 2), 0x04);
    assert_eq!(read(&port, 0), b'a');
    assert!(line.level.get());
    assert_eq!(read(&port, 0), b'b');
    assert!(!line.level.get());
    assert_eq!(read(&port, 2), 0x01);
    assert_eq!(line.changes.get(), 2);
}

#[test]
fn data_that_came_while_masked_interrupts_once_enabled() {
    let (port, line, _) = port();
    port.enqueue(b"a");
    assert!(!line.level.get());
    write(&port, 1, 0x01);
    assert!(line.level.get());
    write(&port, 1, 0x00);
    assert!(!line.level.get());
}

#[test]
fn the_transmit_interrupt_is_acknowledged_by_reading_iir() {
    let (port, line, _) = port();
    write(&port, 1, 0x02);
    assert!(line.level.get());
    assert_eq!(read(&port, 2), 0x02);
    assert!(!line.level.get());
    assert_eq!(read(&port, 2), 0x01);
    // It comes back with the next character, not by enabling what is enabled.
    write(&port, 1, 0x02);
    assert!(!line.level.get());
    write(&port, 0, b'x');
    assert!(line.level.get());
}

#[test]
fn received_data_comes_before_the_transmitter_and_does_not_swallow_it() {
    let (port, line, _) = port();
    write(&port, 1, 0x03);
    port.enqueue(b"a");
    assert_eq!(read(&port, 2), 0x04);
    assert_eq!(read(&port, 0), b'a');
    assert!(line.level.get());
    assert_eq!(read(&port, 2), 0x02);
    assert!(!line.level.get());
}

#[test]
fn input_beyond_the_fifo_waits_and_none_is_lost() {
    let (port, line, _) = port();
    let text: Vec<u8> = (0..=255).cycle().take(1000).collect();
    write(&port, 1, 0x01);
    port.enqueue(&text[..600]);
    assert!(port.waiting() > 0);
    port.enqueue(&text[600..]);
    let mut got = Vec::new();
    while read(&port, 5) & 1 != 0 {
        assert!(line.level.get());
        got.push(read(&port, 0));
    }
    assert_eq!(got, text);
    assert_eq!(port.waiting(), 0);
    assert!(!line.level.get());
}

#[test]
fn fifo_control_shows_in_iir_and_empties_the_receiver() {
    let (port, line, _) = port();
    write(&port, 2, 0x01);
    assert_eq!(read(&port, 2), 0xc1);
    write(&port, 1, 0x01);
    port.enqueue(b"abc");
    // With the divisor latch open too.
    write(&port, 3, 0x83);
    write(&port, 2, 0x03);
    assert_eq!(read(&port, 3), 0x83);
    write(&port, 3, 0x03);
    assert_eq!(read(&port, 5) & 1, 0);
    assert!(!line.level.get());
    write(&port, 2, 0x00);
    assert_eq!(read(&port, 2), 0x01);
}

#[test]
fn the_divisor_latch_hides_data_and_interrupt_enable() {
    let (port, line, screen) = port();
    write(&port, 3, 0x80);
    write(&port, 0, 0x0d);
    write(&port, 1, 0x02);
    assert_eq!((read(&port, 0), read(&port, 1)), (0x0d, 0x02));
    write(&port, 3, 0x03);
    assert_eq!(read(&port, 1), 0);
    assert!(screen.0.borrow().is_empty());
    assert_eq!(line.changes.get(), 0);
}

#[test]
fn loopback_returns_what_is_sent_and_keeps_the_line_out() {
    let (port, line, screen) = port();
    write(&port, 1, 0x01);
    write(&port, 4, 0x10);
    port.enqueue(b"far");
    write(&port, 0, b'n');
    assert!(line.level.get());
    assert_eq!(read(&port, 0), b'n');
    assert_eq!(read(&port, 5) & 1, 0);
    write(&port, 4, 0x00);
    assert_eq!(read(&port, 0), b'f');
    assert!(screen.0.borrow().is_empty());
}
