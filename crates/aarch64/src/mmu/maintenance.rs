//! Maintenance of TLBs and caches, address translation instructions, and what other CPUs must hear
//! of it.
//!
//! DDI 0487: *TLB maintenance instructions*, *Cache maintenance instructions*, *Address translation
//! instructions*, *PAR_EL1, Physical Address Register*.
//!
//! There are no data caches, so maintenance of data by address only translates, for the faults.
//! Instruction maintenance reaches the cache of decoded blocks.
//!
//! **Broadcast.** vCPUs run in turn, so maintenance for the Inner Shareable domain need not reach
//! the others before they run again. It is queued here; the engine calls [`Cpu::take_broadcasts`]
//! after each run and [`Cpu::apply`] on every other CPU before that one runs. A DSB has nothing
//! left to wait for.

use super::status;
use super::walk::{self, Access};
use crate::Bus;
use crate::cpu::Cpu;
use crate::exception::{AbortCause, Exception};
use crate::leave::Leave;

/// What DC ZVA zeroes: DCZID_EL0.BS.
pub(crate) const ZVA_BYTES: u64 = 64;

/// More than this many operations in one run become one that covers all.
const BROADCASTS_MAX: usize = 256;

/// What a TLBI drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlbScope {
    /// Everything.
    All,
    /// One ASID's entries, not the global ones.
    Asid(u16),
    /// One address; with an ASID, in that ASID and global.
    Va {
        /// Any address in the page.
        va: u64,
        /// `None`: in all ASIDs.
        asid: Option<u16>,
    },
}

/// What one CPU does that others must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// TLBI of an Inner Shareable form.
    Tlb(TlbScope),
    /// IC IVAU of a physical address, or (`None`) IC IALLUIS.
    Code(Option<u64>),
    /// SEV.
    Event,
}

impl TlbScope {
    /// The operand of a TLBI by ASID.
    pub(crate) fn asid_operand(cpu: &Cpu, operand: u64) -> u16 {
        let asid = (operand >> 48) as u16;
        // With 8-bit ASIDs (TCR_EL1.AS = 0) the upper half of the field is ignored.
        if cpu.state.sys.tcr >> 36 & 1 != 0 {
            asid
        } else {
            asid & 0xff
        }
    }

    /// The address in the operand of a TLBI by VA: bits 55 to 12 are in 43 to 0.
    pub(crate) fn va_operand(operand: u64) -> u64 {
        ((operand << 20) as i64 >> 8) as u64 & !0xfff
    }
}

impl Cpu {
    /// Whether maintenance is kept for [`Cpu::take_broadcasts`]; a lone CPU can do without.
    pub fn set_broadcasting(&mut self, on: bool) {
        self.mmu.broadcasting = on;
        self.mmu.broadcasts.clear();
    }

    /// What other CPUs must [`apply`](Cpu::apply) before they run.
    pub fn take_broadcasts(&mut self) -> Vec<Broadcast> {
        std::mem::take(&mut self.mmu.broadcasts)
    }

    pub(crate) fn broadcast(&mut self, what: Broadcast) {
        let queue = &mut self.mmu.broadcasts;
        if !self.mmu.broadcasting || queue.last() == Some(&what) {
            return;
        }
        if queue.len() == BROADCASTS_MAX {
            queue.clear();
            queue.extend([
                Broadcast::Tlb(TlbScope::All),
                Broadcast::Code(None),
                Broadcast::Event,
            ]);
        }
        queue.push(what);
    }

    /// Follows another CPU's maintenance or event.
    pub fn apply(&mut self, what: Broadcast) {
        match what {
            Broadcast::Tlb(scope) => self.invalidate_tlb(scope),
            Broadcast::Code(pa) => self.invalidate_code(pa),
            Broadcast::Event => self.state.sys.event_register = true,
        }
    }

    /// Drops TLB entries of this CPU.
    pub(crate) fn invalidate_tlb(&mut self, scope: TlbScope) {
        let tlb = &mut self.mmu.tlb;
        match scope {
            TlbScope::All => tlb.flush_all(),
            TlbScope::Asid(asid) => tlb.flush_asid(asid, self.mmu.regime.asid),
            TlbScope::Va { va, asid } => tlb.flush_va(va, asid),
        }
        self.leave = Leave::Look;
    }

    /// Translates for cache maintenance by address; the data is where it should be already.
    pub(crate) fn maintain_address<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        access: Access,
    ) -> Result<u64, Exception> {
        match self.translate(bus, va, access, self.state.pstate.el) {
            Ok(hit) => Ok(hit.pa),
            Err(fault) => {
                let code = fault.status_code();
                Err(Exception::data_abort(code, AbortCause::Maintenance, va))
            }
        }
    }

    /// DC ZVA: zeroes the block around `va`. FAR_EL1 gets the address as the instruction had it.
    pub(crate) fn zero_block<B: Bus>(&mut self, bus: &mut B, va: u64) -> Result<(), Exception> {
        let abort = |code| Exception::data_abort(code, AbortCause::Write, va);
        let pa = match self.mmu.tlb.fast_write(self.state.pstate.el, va) {
            Some(pa) => pa,
            None => {
                let el = self.state.pstate.el;
                let hit = self
                    .translate_normal(bus, va, Access::Write, el)
                    .map_err(abort)?;
                self.reached(&hit);
                hit.pa
            }
        };
        let start = pa & !(ZVA_BYTES - 1);
        let when = self.when();
        for offset in (0..ZVA_BYTES).step_by(16) {
            bus.write_pair(when, start + offset, 0)
                .map_err(|_| abort(status::EXTERNAL))?;
        }
        Ok(())
    }

    /// AT S1E0R, S1E0W, S1E1R and S1E1W: PAR_EL1 tells what a load or store at `el` would meet.
    pub(crate) fn address_translate<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        el: u8,
        write: bool,
    ) -> Result<(), Exception> {
        /// PAR_EL1 bit 11 is RES1.
        const RES1: u64 = 1 << 11;
        let access = if write { Access::Write } else { Access::Read };
        let regime = &self.mmu.regime;
        let fault = match walk::walk(bus, self.when(), regime, va, access) {
            Ok(found) if found.permits(access, el, regime) => {
                // Device memory is Outer Shareable whatever the descriptor says.
                let share = if found.is_device() {
                    2
                } else {
                    u64::from(found.shareability)
                };
                let page = found.pa & 0x0000_ffff_ffff_f000;
                self.state.sys.par = u64::from(found.attributes) << 56 | page | RES1 | share << 7;
                return Ok(());
            }
            Ok(found) => super::Fault {
                kind: super::FaultKind::Permission,
                level: found.level,
            },
            // The walk itself could not be done: that is an exception, not a result.
            Err(fault) if fault.kind == super::FaultKind::ExternalOnWalk => {
                let code = fault.status_code();
                return Err(Exception::data_abort(code, AbortCause::Maintenance, va));
            }
            Err(fault) => fault,
        };
        self.state.sys.par = RES1 | u64::from(fault.status_code()) << 1 | 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::TlbScope;

    #[test]
    fn tlbi_operand_gives_the_page_sign_extended_from_bit_55() {
        let kernel_page = 0xffff_8000_1234_5000_u64;
        let operand = 7 << 48 | (kernel_page >> 12 & ((1 << 44) - 1));

        assert_eq!(TlbScope::va_operand(operand), kernel_page);
        assert_eq!(TlbScope::va_operand(0x40_0123), 0x4_0012_3000);
    }
}
