//! Registers of the PL031 (Arm DDI 0224, *Summary of registers*).

/// Data Register: the counter, in seconds.
pub const DATA: u64 = 0x00;
/// Match Register: the alarm.
pub const MATCH: u64 = 0x04;
/// Load Register: sets the counter.
pub const LOAD: u64 = 0x08;
/// Control Register: bit 0 says that the clock runs.
pub const CONTROL: u64 = 0x0c;
/// Interrupt Mask Set or Clear: bit 0 lets the interrupt out.
pub const INTERRUPT_MASK: u64 = 0x10;
/// Raw Interrupt Status.
pub const RAW_STATUS: u64 = 0x14;
/// Masked Interrupt Status.
pub const MASKED_STATUS: u64 = 0x18;
/// Interrupt Clear.
pub const INTERRUPT_CLEAR: u64 = 0x1c;
/// First of the eight identification registers.
pub const IDENTIFICATION: u64 = 0xfe0;

/// Peripheral identification (part 0x031, designer 0x41, revision 1) and PrimeCell identification,
/// a byte each.
pub const IDENTIFICATION_BYTES: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
