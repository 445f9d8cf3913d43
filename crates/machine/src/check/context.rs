//! A PASID's context descriptor and tables as they are in memory, whatever the SMMU has cached.

use stallbox_devices::GuestRam;
use stallbox_smmu::spec::cd::Cd;
use stallbox_smmu::view::{Placed, View, Walk};
use stallbox_smmu::{Granule, Smmu};

use super::Space;
use crate::stage1::reader;

pub(super) struct Context {
    /// Where the descriptor is.
    pub at: u64,
    /// What it says.
    pub cd: Cd,
    stream: u32,
    index: u32,
}

impl Context {
    /// Of a stream's PASID, or of a stream's traffic without one; `None` if that has no context
    /// descriptor.
    pub fn read(smmu: &Smmu, ram: &GuestRam, (stream, pasid): Space) -> Option<Context> {
        let memory = reader(ram);
        let view = View::new(smmu, &memory);
        let index = view.context_index(stream, pasid)?;
        let Placed { at, it: cd } = view.cd(stream, index).ok()?;
        Some(Context {
            at,
            cd,
            stream,
            index,
        })
    }

    pub fn is_valid(&self) -> bool {
        self.cd.v()
    }

    /// Whether a descriptor with this first word is valid.
    pub fn says_valid(word: u64) -> bool {
        Cd([word, 0, 0, 0, 0, 0, 0, 0]).v()
    }

    pub fn asid(&self) -> u16 {
        self.cd.asid()
    }

    /// The granule of the lower half.
    pub fn granule(&self) -> Granule {
        match self.cd.tg(0) {
            1 => Granule::K64,
            2 => Granule::K16,
            _ => Granule::K4,
        }
    }

    /// The walk of an address; `None` if it has no tables.
    pub fn walk(&self, smmu: &Smmu, ram: &GuestRam, address: u64) -> Option<Walk> {
        let memory = reader(ram);
        let view = View::new(smmu, &memory);
        view.walk(self.stream, self.index, address).ok()
    }
}
