//! Abnormal events: source, mask, status and set registers, alike for the queue manager
//! (`QM_ABNORMAL_INT_*`) and the engine (`HZIP_CORE_INT_*`).
//!
//! The model never sets one by itself: an unmasked bit makes the driver reset the device, which
//! without ACPI isolates it. They are raised through the set registers or by a fault plan.

/// One group of abnormal events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errors {
    implemented: u32,
    source: u32,
    mask: u32,
}

impl Errors {
    /// All masked, none set.
    pub(super) fn new(implemented: u32) -> Errors {
        Errors {
            implemented,
            source: 0,
            mask: implemented,
        }
    }

    pub(super) fn source(&self) -> u32 {
        self.source
    }

    pub(super) fn mask(&self) -> u32 {
        self.mask
    }

    /// What is set and not masked.
    pub(super) fn status(&self) -> u32 {
        self.source & !self.mask
    }

    /// Writing ones clears.
    pub(super) fn clear(&mut self, bits: u32) {
        self.source &= !bits;
    }

    /// True if an interrupt is due: the status has a bit that it had not.
    #[must_use]
    pub(super) fn set(&mut self, bits: u32) -> bool {
        let before = self.status();
        self.source |= bits & self.implemented;
        self.status() & !before != 0
    }

    /// True if an interrupt is due.
    #[must_use]
    pub(super) fn set_mask(&mut self, mask: u32) -> bool {
        let before = self.status();
        self.mask = mask & self.implemented;
        self.status() & !before != 0
    }
}
