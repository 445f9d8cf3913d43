//! The local exclusives monitor (DDI 0487, *Synchronization and semaphores*; pseudocode
//! `AArch64.SetExclusiveMonitors` and `AArch64.ExclusiveMonitorsPass`).
//!
//! It holds the address and size of the latest load-exclusive. A store-exclusive passes if both are
//! the same. Exception entry and return, CLREX, and a switch to another vCPU clear it: vCPUs run in
//! turn, so a store by another one cannot come between without a switch, and there is no global
//! monitor. A store by the same vCPU does not clear it, which the architecture leaves open.
//!
//! The address is virtual, as `AArch64.IsExclusiveVA` allows: a guest that uses two addresses of the
//! same memory sees the store fail, and a new mapping can only appear across an exception return or
//! by the sequence's own TLB maintenance.

/// What a load-exclusive marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Monitor {
    address: u64,
    /// 0: nothing is marked.
    bytes: u8,
}

impl Monitor {
    /// A load-exclusive of `bytes` at `address`.
    pub(crate) fn mark(&mut self, address: u64, bytes: u8) {
        *self = Self { address, bytes };
    }

    pub(crate) fn clear(&mut self) {
        self.bytes = 0;
    }

    /// Whether a store-exclusive of `bytes` at `address` may store. It clears the monitor either way.
    pub(crate) fn pass(&mut self, address: u64, bytes: u8) -> bool {
        let passes = self.bytes == bytes && self.address == address;
        self.clear();
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::Monitor;

    #[test]
    fn store_exclusive_passes_once_at_the_marked_address_and_size() {
        let mut monitor = Monitor::default();
        monitor.mark(0x1000, 8);

        assert!(monitor.pass(0x1000, 8));
        assert!(!monitor.pass(0x1000, 8));
    }

    #[test]
    fn store_exclusive_elsewhere_fails_and_clears() {
        for (address, bytes) in [(0x1008, 8), (0x1000, 4)] {
            let mut monitor = Monitor::default();
            monitor.mark(0x1000, 8);

            assert!(!monitor.pass(address, bytes));
            assert!(!monitor.pass(0x1000, 8));
        }
    }
}
