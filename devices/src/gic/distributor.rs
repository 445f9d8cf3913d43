//! The distributor: shared interrupts (SPIs), their routing, and the group enables.
//!
//! IHI 0069, *The Distributor register descriptions* (12.9). One Security state (`GICD_CTLR.DS` is
//! RAO/WI) and affinity routing only (`GICD_CTLR.ARE` is RAO/WI), so what GICv2 software would use
//! is RES0: registers of INTIDs 0 to 31, `GICD_ITARGETSR`, `GICD_SGIR`.

use super::access::{half, with_half};
use super::bank::{Bank, BankRegister};
use super::spec::{self, FIRST_SPI, GicdCtlr, GicdTyper, gicd};

/// `GICD_IROUTER<n>`: the affinity fields. Interrupt_Routing_Mode is RES0, as `GICD_TYPER.No1N`
/// announces.
const IROUTER_MASK: u64 = 0xff_00ff_ffff;

/// The distributor's registers.
pub(super) struct Distributor {
    /// Group 0 interrupts are forwarded.
    pub enable_grp0: bool,
    /// Group 1 interrupts are forwarded.
    pub enable_grp1: bool,
    /// The SPIs; index 0 is INTID 32.
    pub spis: Bank,
    routes: Vec<u64>,
}

impl Distributor {
    /// A distributor after reset, with `spis` SPIs (a multiple of 32).
    pub(super) fn new(spis: u32) -> Distributor {
        Distributor {
            enable_grp0: false,
            enable_grp1: false,
            spis: Bank::new(spis, false),
            routes: vec![0; spis as usize],
        }
    }

    /// The affinity that the SPI at `index` is routed to.
    pub(super) fn route(&self, index: u32) -> u64 {
        self.routes.get(index as usize).copied().unwrap_or(0)
    }

    /// Reads a word; `None` if there is no register.
    pub(super) fn read(&self, offset: u64) -> Option<u32> {
        Some(match offset {
            gicd::CTLR => GicdCtlr::new()
                .with_enable_grp0(self.enable_grp0)
                .with_enable_grp1(self.enable_grp1)
                .with_are(true)
                .with_ds(true)
                .into(),
            gicd::TYPER => GicdTyper::new()
                .with_it_lines_number((self.spis.len() / 32) as u8)
                .with_lpis(true)
                .with_id_bits(spec::INTID_BITS as u8 - 1)
                .with_no_1_of_n(true)
                .into(),
            gicd::IIDR => spec::IIDR,
            spec::PIDR2_OFFSET => spec::PIDR2,
            gicd::IROUTER..gicd::IROUTER_END => {
                let intid = ((offset - gicd::IROUTER) / 8) as u32;
                let route = intid
                    .checked_sub(FIRST_SPI)
                    .map_or(0, |index| self.route(index));
                half(route, offset % 8 == 4)
            }
            _ => match BankRegister::at(offset) {
                Some((register, intid)) if intid >= FIRST_SPI => {
                    self.spis.read(register, intid - FIRST_SPI)
                }
                Some(_) => 0,
                None => {
                    return gicd::RES0
                        .iter()
                        .any(|it| it.contains(&offset))
                        .then_some(0);
                }
            },
        })
    }

    /// Writes the bytes under `mask` of a word.
    pub(super) fn write(&mut self, offset: u64, value: u32, mask: u32) {
        match offset {
            gicd::CTLR => {
                let ctlr = GicdCtlr::from(value);
                self.enable_grp0 = ctlr.enable_grp0();
                self.enable_grp1 = ctlr.enable_grp1();
            }
            gicd::IROUTER..gicd::IROUTER_END => {
                let intid = ((offset - gicd::IROUTER) / 8) as u32;
                let index = intid.checked_sub(FIRST_SPI);
                if let Some(route) = index.and_then(|index| self.routes.get_mut(index as usize)) {
                    *route = with_half(*route, offset % 8 == 4, value) & IROUTER_MASK;
                }
            }
            _ => {
                if let Some((register, intid)) = BankRegister::at(offset)
                    && intid >= FIRST_SPI
                {
                    self.spis.write(register, intid - FIRST_SPI, value, mask);
                }
            }
        }
    }
}
