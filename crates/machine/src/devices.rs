//! The directory of a machine's devices: the SMMU, and the accelerators by StreamID.
//!
//! The world owns it. A fault plan, checkers and whoever else looks on find devices here, and hold
//! it as a `Weak`: the devices' probes hold them, and a circle would outlive the world.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use stallbox_devices::atc::AtcEntry;
use stallbox_devices::function::Accelerator;
use stallbox_smmu::Smmu;

/// The SMMU and the accelerators of one machine.
pub struct Devices {
    smmu: Smmu,
    accelerators: RefCell<BTreeMap<u32, Rc<dyn Accelerator>>>,
}

/// Why no accelerator is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAccelerator {
    /// No accelerator has the StreamID.
    #[error("no accelerator has StreamID {0}")]
    Unknown(u32),
    /// The machine has none.
    #[error("there is no accelerator")]
    None,
    /// The machine has several, and none is named.
    #[error("there are two accelerators: give `stream`")]
    Several,
}

impl Devices {
    /// A directory of a machine without accelerators.
    pub(super) fn new(smmu: Smmu) -> Devices {
        Devices {
            smmu,
            accelerators: RefCell::default(),
        }
    }

    /// Adds the accelerator of a stream.
    pub(super) fn plug(&self, stream: u32, accelerator: Rc<dyn Accelerator>) {
        self.accelerators.borrow_mut().insert(stream, accelerator);
    }

    /// The SMMU.
    pub fn smmu(&self) -> &Smmu {
        &self.smmu
    }

    /// All accelerators with their StreamIDs, in ascending order.
    pub fn accelerators(&self) -> Vec<(u32, Rc<dyn Accelerator>)> {
        let accelerators = self.accelerators.borrow();
        accelerators
            .iter()
            .map(|(stream, accelerator)| (*stream, accelerator.clone()))
            .collect()
    }

    /// Whether an accelerator has this StreamID.
    pub fn has_accelerator(&self, stream: u32) -> bool {
        self.accelerators.borrow().contains_key(&stream)
    }

    /// The accelerator that is meant: the only one, if no StreamID is given.
    ///
    /// # Errors
    /// If there is none, or there are several.
    pub fn accelerator(&self, stream: Option<u32>) -> Result<Rc<dyn Accelerator>, NoAccelerator> {
        let accelerators = self.accelerators.borrow();
        if let Some(stream) = stream {
            return accelerators
                .get(&stream)
                .cloned()
                .ok_or(NoAccelerator::Unknown(stream));
        }
        match accelerators.len() {
            0 => Err(NoAccelerator::None),
            1 => Ok(accelerators.values().next().cloned().expect("it is one")),
            _ => Err(NoAccelerator::Several),
        }
    }

    /// What a device has cached of translations; `None` if it has no cache.
    ///
    /// # Errors
    /// If no accelerator has this StreamID.
    pub fn cached_translations(&self, stream: u32) -> Result<Option<Vec<AtcEntry>>, String> {
        let found = self.accelerator(Some(stream));
        let accelerator = found.map_err(|error| error.to_string())?;
        Ok(accelerator.cached_translations())
    }
}
