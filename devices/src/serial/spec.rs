//! Registers of the 16550 (National Semiconductor PC16550D data sheet, *Registers*).

/// Receiver Buffer (read) and Transmitter Holding (write) register; the divisor's low byte while
/// the Divisor Latch Access Bit is set.
pub const DATA: u8 = 0;
/// Interrupt Enable Register; the divisor's high byte while the latch bit is set.
pub const INTERRUPT_ENABLE: u8 = 1;
/// Interrupt Identification Register, when read.
pub const INTERRUPT_IDENT: u8 = 2;
/// FIFO Control Register, when written.
pub const FIFO_CONTROL: u8 = 2;
/// Line Control Register.
pub const LINE_CONTROL: u8 = 3;
/// Line Status Register.
pub const LINE_STATUS: u8 = 5;
/// Number of registers.
pub const REGISTERS: u64 = 8;

/// IER: Received Data Available.
pub const ENABLE_RECEIVED: u8 = 1 << 0;
/// IER: Transmitter Holding Register Empty.
pub const ENABLE_TRANSMIT_EMPTY: u8 = 1 << 1;

/// IIR: no interrupt is pending.
pub const IDENT_NONE: u8 = 0b0001;
/// IIR: Transmitter Holding Register Empty; third priority.
pub const IDENT_TRANSMIT_EMPTY: u8 = 0b0010;
/// IIR: Received Data Available; second priority.
pub const IDENT_RECEIVED: u8 = 0b0100;
/// IIR: both bits that say that the FIFOs are on.
pub const IDENT_FIFOS: u8 = 0b1100_0000;

/// FCR: FIFO Enable.
pub const FIFO_ENABLE: u8 = 1 << 0;
/// FCR: RCVR FIFO Reset.
pub const FIFO_RESET_RECEIVER: u8 = 1 << 1;

/// LCR: Divisor Latch Access Bit.
pub const DIVISOR_LATCH: u8 = 1 << 7;
/// LSR: Data Ready.
pub const DATA_READY: u8 = 1 << 0;
