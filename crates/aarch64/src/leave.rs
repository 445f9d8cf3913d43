//! Why execution does not simply go on.

use crate::cpu::Exit;

/// What must be seen to before the instruction after the one at work: the one thing that an
/// executor tests after whatever can set it. Its first byte is 0 while nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, u8)]
pub(crate) enum Leave {
    /// Nothing: it goes on.
    #[default]
    No,
    /// To look up. Something other than RAM was reached, so that
    /// [`Bus::attention`](crate::Bus::attention) is to be asked; or interrupts, PSTATE, the
    /// translation of code or the code itself may have changed. All of them mean the same to the
    /// loop: it looks at all that can have changed.
    Look,
    /// [`Cpu::run`](crate::Cpu::run) is over.
    Exit(Exit),
}
