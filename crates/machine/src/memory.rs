//! Physical memory as bus masters other than CPUs see it.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use stallbox_devices::GuestRam;
use stallbox_devices::gic::ITS_TRANSLATER;
use stallbox_firmware::layout;
use stallbox_smmu::{ExternalAbort, Memory};
use stallbox_trace::{Event, Tracer};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, VolatileMemory};

use crate::{InterruptController, SMMU_DEVICE_ID};

/// Writes up to this long become visible word by word, in order.
const RECORD_BYTES_MAX: usize = 64;

/// RAM, and the doorbell of message-signalled interrupts. Other devices' registers are not reached:
/// there is no peer-to-peer traffic, and an access is aborted.
pub(crate) struct Physical {
    ram: GuestRam,
    interrupts: Rc<dyn InterruptController>,
    tracer: Tracer,
}

impl Physical {
    pub(super) fn new(
        ram: GuestRam,
        interrupts: Rc<dyn InterruptController>,
        tracer: Tracer,
    ) -> Rc<Physical> {
        Rc::new(Physical {
            ram,
            interrupts,
            tracer,
        })
    }

    /// Reads for whoever.
    pub(super) fn read(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort> {
        self.ram
            .read_slice(data, GuestAddress(address))
            .map_err(|_| ExternalAbort)
    }

    /// Writes for the master that the ITS knows as `device_id`.
    pub(super) fn write_for(
        &self,
        device_id: u32,
        address: u64,
        data: &[u8],
    ) -> Result<(), ExternalAbort> {
        if address == layout::GIC_ITS.base + ITS_TRANSLATER {
            // GITS_TRANSLATER takes 32-bit writes, or 16-bit ones of the low half.
            let event_id = match *data {
                [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
                [a, b] => u16::from_le_bytes([a, b]).into(),
                _ => return Err(ExternalAbort),
            };
            self.tracer.emit(Event::Msi {
                device: device_id,
                event_id,
            });
            self.interrupts.msi(device_id, event_id);
            return Ok(());
        }
        self.store(address, data).map_err(|_| ExternalAbort)
    }

    /// FetchAdd (see [`Op`](stallbox_devices::dma::Op::FetchAdd)) of 4 or 8
    /// aligned bytes, atomic against vCPUs that run at the same time.
    pub(super) fn fetch_add(
        &self,
        address: u64,
        operand: &[u8],
        before: &mut [u8],
    ) -> Result<(), ExternalAbort> {
        let slice = self
            .ram
            .get_slice(GuestAddress(address), operand.len())
            .map_err(|_| ExternalAbort)?;
        if before.len() != operand.len() {
            return Err(ExternalAbort);
        }
        macro_rules! add {
            ($atomic:ty, $integer:ty, $bytes:expr) => {{
                let operand = <$integer>::from_le_bytes($bytes);
                let word: &$atomic = slice.get_atomic_ref(0).map_err(|_| ExternalAbort)?;
                let sum = |was| Some(<$integer>::from_le(was).wrapping_add(operand).to_le());
                let (Ok(was) | Err(was)) =
                    word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, sum);
                before.copy_from_slice(&was.to_ne_bytes());
            }};
        }
        if let Ok(bytes) = operand.try_into() {
            add!(AtomicU32, u32, bytes);
        } else if let Ok(bytes) = operand.try_into() {
            add!(AtomicU64, u64, bytes);
        } else {
            return Err(ExternalAbort);
        }
        Ok(())
    }

    /// Writes RAM in the order in which a bus master writes it. With the kvm engine, vCPUs look on:
    /// one that polls must not see a completion before the data, nor the last word of a record (in
    /// which the accelerator's completions have their phase bit) before the others.
    fn store(&self, address: u64, data: &[u8]) -> Result<(), GuestMemoryError> {
        let (words, rest) = data.as_chunks();
        if data.len() <= RECORD_BYTES_MAX && rest.is_empty() && address.is_multiple_of(8) {
            for (word, at) in words.iter().zip((address..).step_by(8)) {
                self.ram.store(
                    u64::from_le_bytes(*word),
                    GuestAddress(at),
                    Ordering::Release,
                )?;
            }
            return Ok(());
        }
        fence(Ordering::Release);
        self.ram.write_slice(data, GuestAddress(address))
    }
}

/// The SMMU's own accesses.
impl Memory for Physical {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort> {
        Physical::read(self, address, data)
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), ExternalAbort> {
        self.write_for(SMMU_DEVICE_ID, address, data)
    }

    /// Atomic against vCPUs that run at the same time.
    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, ExternalAbort> {
        let slice = self
            .ram
            .get_slice(GuestAddress(address), size_of::<u64>())
            .map_err(|_| ExternalAbort)?;
        let word: &AtomicU64 = slice.get_atomic_ref(0).map_err(|_| ExternalAbort)?;
        let (current, new) = (current.to_le(), new.to_le());
        let (Ok(was) | Err(was)) =
            word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        Ok(u64::from_le(was))
    }
}
