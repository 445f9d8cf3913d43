//! Loads, stores and instruction fetches.
//!
//! DDI 0487: *Alignment support*, *Single-copy atomicity*; pseudocode `Mem[]`,
//! `AArch64.MemSingle`, `AArch64.TranslateAddress`.
//!
//! The fast path is a TLB hit on an aligned address: RAM of Normal type. Everything else is
//! settled out of line, in the order of the architecture: alignment, translation of each byte's
//! page, alignment to Device memory, permission, the access itself.

use super::walk::{self, Access};
use super::{AccessType, Fault, FaultKind, status, tlb::Hit};
use crate::cpu::Cpu;
use crate::exception::{AbortCause, Exception};
use crate::leave::Leave;
use crate::{Bus, Size};

/// log2 of the granularity that the TLB and [`Bus::is_ram`] know.
const PAGE: u64 = 4096;

impl Access {
    fn cause(self) -> AbortCause {
        if self == Self::Write {
            AbortCause::Write
        } else {
            AbortCause::Read
        }
    }
}

impl AccessType {
    /// Whether alignment is checked whatever SCTLR_EL1.A says.
    const fn always_aligned(self) -> bool {
        matches!(self, Self::Atomic | Self::AcquireRelease)
    }
}

impl Cpu {
    /// An access goes where the translation says: anything but RAM may want attention.
    #[inline(always)]
    pub(super) fn reached(&mut self, hit: &Hit) {
        if !hit.ram {
            self.leave = Leave::Look;
        }
    }

    #[inline(always)]
    const fn access_el(&self, access: AccessType) -> u8 {
        match access {
            AccessType::Unprivileged => 0,
            _ => self.state.pstate.el,
        }
    }

    /// Loads a value, zero-extended.
    #[inline(always)]
    pub fn load<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        size: Size,
        access: AccessType,
    ) -> Result<u64, Exception> {
        if va & (size.bytes() - 1) == 0
            && let Some(pa) = self.mmu.tlb.fast_read(self.access_el(access), va)
            && let Ok(value) = bus.read(self.when(), pa, size)
        {
            return Ok(value);
        }
        self.load_slow(bus, va, size, access)
    }

    /// Stores the low bits of a value.
    #[inline(always)]
    pub fn store<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        size: Size,
        value: u64,
        access: AccessType,
    ) -> Result<(), Exception> {
        if va & (size.bytes() - 1) == 0
            && let Some(pa) = self.mmu.tlb.fast_write(self.access_el(access), va)
            && bus.write(self.when(), pa, size, value).is_ok()
        {
            return Ok(());
        }
        self.store_slow(bus, va, size, value, access)
    }

    /// Loads two 8-byte elements (LDP): one access if `va` is a multiple of 16.
    #[inline(always)]
    pub fn load_pair<B: Bus>(&mut self, bus: &mut B, va: u64) -> Result<u128, Exception> {
        if va & 15 == 0
            && let Some(pa) = self.mmu.tlb.fast_read(self.state.pstate.el, va)
            && let Ok(value) = bus.read_pair(self.when(), pa)
        {
            return Ok(value);
        }
        self.load_wide(bus, va, 8, AccessType::Normal)
    }

    /// Stores two 8-byte elements (STP): one access if `va` is a multiple of 16.
    #[inline(always)]
    pub fn store_pair<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        value: u128,
    ) -> Result<(), Exception> {
        if va & 15 == 0
            && let Some(pa) = self.mmu.tlb.fast_write(self.state.pstate.el, va)
            && bus.write_pair(self.when(), pa, value).is_ok()
        {
            return Ok(());
        }
        self.store_wide(bus, va, value, 8, AccessType::Normal)
    }

    /// Loads one 16-byte element: a Q register, or (`access` is atomic) LDXP and CASP of X
    /// registers. Where alignment is checked it is to 16 bytes.
    #[inline(always)]
    pub fn load_quad<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        access: AccessType,
    ) -> Result<u128, Exception> {
        if va & 15 == 0
            && let Some(pa) = self.mmu.tlb.fast_read(self.access_el(access), va)
            && let Ok(value) = bus.read_pair(self.when(), pa)
        {
            return Ok(value);
        }
        self.load_wide(bus, va, 16, access)
    }

    /// Stores one 16-byte element; see [`Cpu::load_quad`].
    #[inline(always)]
    pub fn store_quad<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        value: u128,
        access: AccessType,
    ) -> Result<(), Exception> {
        if va & 15 == 0
            && let Some(pa) = self.mmu.tlb.fast_write(self.access_el(access), va)
            && bus.write_pair(self.when(), pa, value).is_ok()
        {
            return Ok(());
        }
        self.store_wide(bus, va, value, 16, access)
    }

    /// Physical address of an instruction, which must be in RAM.
    ///
    /// Checks the PC's alignment first. Good for the rest of the 4 KiB.
    #[inline(always)]
    pub fn fetch_address<B: Bus>(&mut self, bus: &mut B, va: u64) -> Result<u64, Exception> {
        if va & 3 == 0
            && let Some(pa) = self.mmu.tlb.fast_fetch(self.state.pstate.el, va)
        {
            return Ok(pa);
        }
        self.fetch_slow(bus, va)
    }

    #[cold]
    fn fetch_slow<B: Bus>(&mut self, bus: &mut B, va: u64) -> Result<u64, Exception> {
        if va & 3 != 0 {
            return Err(Exception::pc_alignment(va));
        }
        let hit = self
            .translate(bus, va, Access::Execute, self.state.pstate.el)
            .map_err(|fault| Exception::instruction_abort(fault.status_code(), va))?;
        if !hit.ram {
            return Err(Exception::instruction_abort(status::EXTERNAL, va));
        }
        Ok(hit.pa)
    }

    /// Translates one address and checks permission, by the TLB or by a walk.
    pub(crate) fn translate<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        access: Access,
        el: u8,
    ) -> Result<Hit, Fault> {
        if let Some(hit) = self.mmu.tlb.lookup(access, el, va) {
            return Ok(hit);
        }
        let regime = &self.mmu.regime;
        let found = walk::walk(bus, self.when(), regime, va, access)?;
        let fault = |kind| Fault {
            kind,
            level: found.level,
        };
        if !found.permits(access, el, regime) {
            return Err(fault(FaultKind::Permission));
        }
        if let Some(kept) = found.kept
            && let Some(word) = kept.updated(access)
        {
            if !bus.is_ram(kept.at) {
                return Err(fault(FaultKind::UnsupportedUpdate));
            }
            bus.write(self.when(), kept.at, Size::Double, word)
                .map_err(|_| fault(FaultKind::ExternalOnWalk))?;
        }
        let ram = bus.is_ram(found.pa);
        self.mmu.tlb.insert(access, el, va, &found, ram);
        Ok(Hit {
            pa: found.pa,
            device: found.is_device(),
            ram,
        })
    }

    /// Translates for an access that Device memory refuses with an Alignment fault, which goes
    /// before a Permission fault. Fails with a fault status code.
    pub(crate) fn translate_normal<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        access: Access,
        el: u8,
    ) -> Result<Hit, u32> {
        let device = match self.translate(bus, va, access, el) {
            Ok(hit) if !hit.device => return Ok(hit),
            Ok(_) => true,
            Err(Fault {
                kind: FaultKind::Permission,
                ..
            }) => {
                let found = walk::walk(bus, self.when(), &self.mmu.regime, va, access);
                found.is_ok_and(|found| found.is_device())
            }
            Err(_) => false,
        };
        if device {
            return Err(status::ALIGNMENT);
        }
        self.translate(bus, va, access, el)
            .map_err(Fault::status_code)
    }

    /// Translates for a data access; an atomic one must find RAM.
    fn translate_data<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        access: Access,
        kind: AccessType,
    ) -> Result<Hit, Exception> {
        let hit = self
            .translate(bus, va, access, self.access_el(kind))
            .map_err(|fault| Exception::data_abort(fault.status_code(), access.cause(), va))?;
        if kind == AccessType::Atomic && !hit.ram {
            let code = status::UNSUPPORTED_ATOMIC;
            return Err(Exception::data_abort(code, access.cause(), va));
        }
        Ok(hit)
    }

    /// The alignment check that needs no translation.
    fn check_alignment(
        &self,
        va: u64,
        element: u64,
        kind: AccessType,
        access: Access,
    ) -> Result<(), Exception> {
        let checked = kind.always_aligned() || self.mmu.regime.strict_alignment;
        if checked && va & (element - 1) != 0 {
            return Err(Exception::data_abort(status::ALIGNMENT, access.cause(), va));
        }
        Ok(())
    }

    /// Translates an access of up to 16 bytes that is not aligned to its element: the first byte's
    /// page and, if it is another one, the last byte's. Device memory refuses.
    ///
    /// Returns where the first byte is, where the second page starts, and how many bytes are in
    /// the first.
    fn translate_unaligned<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        bytes: u64,
        access: Access,
        kind: AccessType,
    ) -> Result<[(Hit, u64); 2], Exception> {
        let in_first = (PAGE - va % PAGE).min(bytes);
        let mut translate = |va| {
            let found = self.translate_normal(bus, va, access, self.access_el(kind));
            found.map_err(|code| Exception::data_abort(code, access.cause(), va))
        };
        let first = translate(va)?;
        let second = if in_first < bytes {
            translate(va.wrapping_add(in_first))?
        } else {
            first
        };
        Ok([(first, in_first), (second, bytes - in_first)])
    }

    #[inline(never)]
    fn load_slow<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        size: Size,
        kind: AccessType,
    ) -> Result<u64, Exception> {
        self.check_alignment(va, size.bytes(), kind, Access::Read)?;
        if va & (size.bytes() - 1) != 0 {
            return Ok(self.load_bytes(bus, va, size.bytes(), kind)? as u64);
        }
        let hit = self.translate_data(bus, va, Access::Read, kind)?;
        self.reached(&hit);
        bus.read(self.when(), hit.pa, size)
            .map_err(|_| Exception::data_abort(status::EXTERNAL, AbortCause::Read, va))
    }

    #[inline(never)]
    fn store_slow<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        size: Size,
        value: u64,
        kind: AccessType,
    ) -> Result<(), Exception> {
        self.check_alignment(va, size.bytes(), kind, Access::Write)?;
        if va & (size.bytes() - 1) != 0 {
            return self.store_bytes(bus, va, size.bytes(), u128::from(value), kind);
        }
        let hit = self.translate_data(bus, va, Access::Write, kind)?;
        self.reached(&hit);
        bus.write(self.when(), hit.pa, size, value)
            .map_err(|_| Exception::data_abort(status::EXTERNAL, AbortCause::Write, va))
    }

    #[inline(never)]
    fn load_wide<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        element: u64,
        kind: AccessType,
    ) -> Result<u128, Exception> {
        self.check_alignment(va, element, kind, Access::Read)?;
        if va & 15 == 0 {
            let hit = self.translate_data(bus, va, Access::Read, kind)?;
            self.reached(&hit);
            return bus
                .read_pair(self.when(), hit.pa)
                .map_err(|_| Exception::data_abort(status::EXTERNAL, AbortCause::Read, va));
        }
        if va & (element - 1) == 0 {
            let low = self.load(bus, va, Size::Double, kind)?;
            let high = self.load(bus, va.wrapping_add(8), Size::Double, kind)?;
            return Ok(u128::from(high) << 64 | u128::from(low));
        }
        self.load_bytes(bus, va, 16, kind)
    }

    #[inline(never)]
    fn store_wide<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        value: u128,
        element: u64,
        kind: AccessType,
    ) -> Result<(), Exception> {
        self.check_alignment(va, element, kind, Access::Write)?;
        if va & 15 == 0 {
            let hit = self.translate_data(bus, va, Access::Write, kind)?;
            self.reached(&hit);
            return bus
                .write_pair(self.when(), hit.pa, value)
                .map_err(|_| Exception::data_abort(status::EXTERNAL, AbortCause::Write, va));
        }
        if va & (element - 1) == 0 {
            // The second half's page must be known to be good before the first half is written.
            let high = va.wrapping_add(8);
            self.translate_data(bus, va, Access::Write, kind)?;
            self.translate_data(bus, high, Access::Write, kind)?;
            self.store(bus, va, Size::Double, value as u64, kind)?;
            return self.store(bus, high, Size::Double, (value >> 64) as u64, kind);
        }
        self.store_bytes(bus, va, 16, value, kind)
    }

    /// An unaligned load, put together from aligned words where it is RAM.
    fn load_bytes<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        bytes: u64,
        kind: AccessType,
    ) -> Result<u128, Exception> {
        let parts = self.translate_unaligned(bus, va, bytes, Access::Read, kind)?;
        let when = self.when();
        let mut value = 0_u128;
        let mut done = 0;
        for (hit, count) in parts {
            self.reached(&hit);
            let mut pa = hit.pa;
            let end = pa + count;
            while pa < end {
                // RAM does not mind reads of its other bytes; the page holds the whole word.
                let (from, size) = if hit.ram {
                    (pa & !7, Size::Double)
                } else {
                    (pa, Size::Byte)
                };
                let word = bus.read(when, from, size).map_err(|_| {
                    let at = va.wrapping_add(done);
                    Exception::data_abort(status::EXTERNAL, AbortCause::Read, at)
                })?;
                let taken = (from + size.bytes()).min(end) - pa;
                let piece = word >> ((pa - from) * 8) & (u64::MAX >> (64 - taken * 8));
                value |= u128::from(piece) << (done * 8);
                pa += taken;
                done += taken;
            }
        }
        Ok(value)
    }

    /// An unaligned store, taken apart into naturally aligned pieces.
    fn store_bytes<B: Bus>(
        &mut self,
        bus: &mut B,
        va: u64,
        bytes: u64,
        value: u128,
        kind: AccessType,
    ) -> Result<(), Exception> {
        let parts = self.translate_unaligned(bus, va, bytes, Access::Write, kind)?;
        let when = self.when();
        let mut done = 0;
        for (hit, count) in parts {
            self.reached(&hit);
            let mut pa = hit.pa;
            let end = pa + count;
            while pa < end {
                let size = if hit.ram {
                    largest_aligned(pa, end - pa)
                } else {
                    Size::Byte
                };
                let piece = (value >> (done * 8)) as u64;
                bus.write(when, pa, size, piece).map_err(|_| {
                    let at = va.wrapping_add(done);
                    Exception::data_abort(status::EXTERNAL, AbortCause::Write, at)
                })?;
                pa += size.bytes();
                done += size.bytes();
            }
        }
        Ok(())
    }
}

/// The largest naturally aligned piece that starts at `pa` and is not longer than `bytes`.
const fn largest_aligned(pa: u64, bytes: u64) -> Size {
    if pa & 7 == 0 && bytes >= 8 {
        Size::Double
    } else if pa & 3 == 0 && bytes >= 4 {
        Size::Word
    } else if pa & 1 == 0 && bytes >= 2 {
        Size::Half
    } else {
        Size::Byte
    }
}
