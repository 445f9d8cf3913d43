//! A redistributor: one CPU's private interrupts (SGIs and PPIs) and LPIs.
//!
//! IHI 0069, *The Redistributor register descriptions* (12.11). No direct LPIs
//! (`GICR_TYPER.DirectLPI` and `GICR_CTLR.IR` are 0), so LPIs are made and invalidated through the
//! ITS alone; `GICR_CTLR.CES` is 1: LPIs can be switched off again.

use super::access::{half, with_half};
use super::bank::{Bank, BankRegister};
use super::lpi::Lpis;
use super::spec::{self, GicrCtlr, GicrTyper, GicrWaker, Pendbaser, Propbaser, gicr};
use crate::GuestRam;

/// One CPU's redistributor.
pub(super) struct Redistributor {
    cpu: usize,
    last: bool,
    /// `GICR_WAKER.ProcessorSleep`: nothing is forwarded to the CPU interface. It resets to 1, and
    /// firmware clears it; with one Security state, software may set it again.
    pub asleep: bool,
    propbaser: u64,
    pendbaser: u64,
    /// SGIs (INTIDs 0 to 15) and PPIs (16 to 31).
    pub private: Bank,
    /// LPIs.
    pub lpis: Lpis,
}

impl Redistributor {
    /// The redistributor of `cpu` as firmware leaves it: awake; `last` if its frames are the last of the region.
    pub(super) fn new(cpu: usize, last: bool, ram: GuestRam, lpi_id_bits: u32) -> Redistributor {
        Redistributor {
            cpu,
            last,
            asleep: false,
            propbaser: 0,
            pendbaser: 0,
            private: Bank::new(32, true),
            lpis: Lpis::new(ram, lpi_id_bits),
        }
    }

    /// Reads a word; `offset` counts from `RD_base`. `None` if there is no register.
    pub(super) fn read(&self, offset: u64) -> Option<u32> {
        if let Some(offset) = offset.checked_sub(spec::FRAME_BYTES) {
            return match BankRegister::at(offset) {
                Some((register, intid)) if intid < spec::FIRST_SPI => {
                    Some(self.private.read(register, intid))
                }
                _ => gicr::SGI_RES0.contains(&offset).then_some(0),
            };
        }
        Some(match offset {
            gicr::CTLR => GicrCtlr::new()
                .with_enable_lpis(self.lpis.enabled())
                .with_ces(true)
                .into(),
            gicr::IIDR => spec::IIDR,
            gicr::TYPER | gicr::TYPER_HIGH => {
                let typer = GicrTyper::new()
                    .with_plpis(true)
                    .with_last(self.last)
                    .with_processor_number(self.cpu as u16)
                    .with_affinity(self.cpu as u32);
                half(typer.into(), offset == gicr::TYPER_HIGH)
            }
            gicr::WAKER => GicrWaker::new()
                .with_processor_sleep(self.asleep)
                .with_children_asleep(self.asleep)
                .into(),
            gicr::PROPBASER | gicr::PROPBASER_HIGH => {
                half(self.propbaser, offset == gicr::PROPBASER_HIGH)
            }
            gicr::PENDBASER | gicr::PENDBASER_HIGH => {
                let visible = Pendbaser::from(self.pendbaser).with_ptz(false);
                half(visible.into(), offset == gicr::PENDBASER_HIGH)
            }
            spec::PIDR2_OFFSET => spec::PIDR2,
            _ => return None,
        })
    }

    /// Writes the bytes under `mask` of a word; `offset` counts from `RD_base`.
    pub(super) fn write(&mut self, offset: u64, value: u32, mask: u32) {
        if offset >= spec::FRAME_BYTES {
            if let Some((register, intid)) = BankRegister::at(offset - spec::FRAME_BYTES)
                && intid < spec::FIRST_SPI
            {
                self.private.write(register, intid, value, mask);
            }
            return;
        }
        match offset {
            gicr::CTLR => {
                let enable = GicrCtlr::from(value).enable_lpis();
                if enable && !self.lpis.enabled() {
                    self.lpis
                        .enable(self.propbaser.into(), self.pendbaser.into());
                } else if !enable && self.lpis.enabled() {
                    self.lpis.disable(self.pendbaser.into());
                }
            }
            gicr::WAKER => self.asleep = GicrWaker::from(value).processor_sleep(),
            // Moving a table that is in use is UNPREDICTABLE: not moved.
            gicr::PROPBASER | gicr::PROPBASER_HIGH if !self.lpis.enabled() => {
                let new = with_half(self.propbaser, offset == gicr::PROPBASER_HIGH, value);
                self.propbaser = Propbaser::from(new & spec::PROPBASER_MASK).into();
            }
            gicr::PENDBASER | gicr::PENDBASER_HIGH if !self.lpis.enabled() => {
                let new = with_half(self.pendbaser, offset == gicr::PENDBASER_HIGH, value);
                self.pendbaser = new & spec::PENDBASER_MASK;
            }
            _ => {}
        }
    }
}
