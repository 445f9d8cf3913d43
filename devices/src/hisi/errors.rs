//! Abnormal events: source, mask, status and set registers, alike for the queue manager
//! (`QM_ABNORMAL_INT_*`) and the engine (`HZIP_CORE_INT_*`).
//!
//! An unmasked bit makes the driver reset the device, which without ACPI isolates it. The model sets one
//! by itself only for an access that was refused, and then unmasked only if it is configured to. All
//! others are raised through the set registers or by a fault plan.

/// One group of abnormal events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errors {
    implemented: u32,
    source: u32,
    /// What somebody else than the driver was told of: shown in the source, but not in the status.
    elsewhere: u32,
    mask: u32,
}

impl Errors {
    /// All masked, none set.
    pub(super) fn new(implemented: u32) -> Errors {
        Errors {
            implemented,
            source: 0,
            elsewhere: 0,
            mask: implemented,
        }
    }

    pub(super) fn source(&self) -> u32 {
        self.source | self.elsewhere
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
        self.elsewhere &= !bits;
    }

    /// True if an interrupt is due: the status has a bit that it had not.
    #[must_use]
    pub(super) fn set(&mut self, bits: u32) -> bool {
        let before = self.status();
        self.source |= bits & self.implemented;
        self.status() & !before != 0
    }

    /// Sets what is told to somebody else.
    pub(super) fn set_elsewhere(&mut self, bits: u32) {
        self.elsewhere |= bits & self.implemented;
    }

    /// True if an interrupt is due.
    #[must_use]
    pub(super) fn set_mask(&mut self, mask: u32) -> bool {
        let before = self.status();
        self.mask = mask & self.implemented;
        self.status() & !before != 0
    }
}
