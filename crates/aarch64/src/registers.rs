//! Names of the general-purpose registers, as operands of instructions and as indices into
//! [`State::x`](crate::State::x).
//!
//! X0 to X30 are the numbers 0 to 30. Number 31 of an encoding is the zero register in some places
//! and the stack pointer in others: the decoder says which, so that nobody asks again.

/// The link register, X30.
pub const LR: u8 = 30;
/// The zero register.
pub const XZR: u8 = 31;
/// The current stack pointer.
pub const SP: u8 = 32;
/// Swallows what is written to the zero register, which must stay zero. No instruction names it:
/// executors write there instead of asking whether a destination is [`XZR`].
pub const SINK: u8 = 33;

/// Slots of the register file: as many as a `u8` can name, so that indexing with one needs no bounds
/// check. Those after [`SINK`] are unused.
pub const REGISTER_SLOTS: usize = 256;

/// Where to write a register that an instruction names as its destination.
#[inline(always)]
pub(crate) const fn as_destination(register: u8) -> u8 {
    if register == XZR { SINK } else { register }
}
