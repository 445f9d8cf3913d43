//! What the CPU asks of the machine around it.

/// Width of a single access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
    /// 64 bits.
    Double,
}

impl Size {
    /// Width in bytes.
    pub const fn bytes(self) -> u64 {
        1 << self as u64
    }
}

/// Nothing answers at this physical address: a synchronous external abort for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError;

/// Memory, and whatever else lies outside the core.
///
/// `when` counts the instructions that this [`Cpu::run`](crate::Cpu::run) has retired before the
/// one at work, so that a device sees the time inside a slice. System registers are named by
/// `op0 << 14 | op1 << 11 | CRn << 7 | CRm << 3 | op2`, as in the operand field of MRS and MSR.
pub trait Bus {
    /// Reads naturally aligned memory or device registers; the value is zero-extended.
    fn read(&mut self, when: u64, address: u64, size: Size) -> Result<u64, BusError>;
    /// Writes naturally aligned memory or device registers with the low bits of `value`.
    fn write(&mut self, when: u64, address: u64, size: Size, value: u64) -> Result<(), BusError>;
    /// Reads 16 bytes at a 16-byte aligned address as one access (LDP and 128-bit LDR).
    fn read_pair(&mut self, when: u64, address: u64) -> Result<u128, BusError>;
    /// Writes 16 bytes at a 16-byte aligned address as one access (STP and 128-bit STR).
    fn write_pair(&mut self, when: u64, address: u64, value: u128) -> Result<(), BusError>;
    /// Whether the address is RAM. Instructions are fetched, and exclusives and atomics work, there.
    fn is_ram(&self, address: u64) -> bool;

    /// Reads a system register outside the core; `None` if there is no such register.
    fn sysreg_read(&mut self, when: u64, register: u16) -> Option<u64>;
    /// Writes a system register outside the core; `None` if there is no such register.
    fn sysreg_write(&mut self, when: u64, register: u16, value: u64) -> Option<()>;
    /// State of this CPU's IRQ input.
    fn irq(&self) -> bool;
    /// State of this CPU's FIQ input.
    fn fiq(&self) -> bool;
    /// Whether a device access or system register write since the last call wants the engine to
    /// look before the next instruction (a new earlier event, another vCPU's interrupt).
    fn attention(&mut self) -> bool;
    /// An atomic access, a store-exclusive, a store-release or TLB maintenance has been done, by which CPUs agree with each
    /// other. Whether [`Bus::attention`] is to be asked before the next instruction.
    #[inline(always)]
    fn agreed(&mut self) -> bool {
        false
    }
    /// Whether the engine wants to look at the CPU as it is after this block, whatever it did.
    #[inline(always)]
    fn wants_stop(&self) -> bool {
        false
    }
}
