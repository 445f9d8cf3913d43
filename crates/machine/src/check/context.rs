//! A PASID's context descriptor and tables as they are in memory, whatever the SMMU has cached.

use stallbox_devices::GuestRam;
use stallbox_smmu::spec::cd::Cd;
use stallbox_smmu::view::{Placed, View, Walk};
use stallbox_smmu::{Smmu, Transaction};

use super::{Checkers, Space, space};
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
    pub(super) fn read(smmu: &Smmu, ram: &GuestRam, (stream, pasid): Space) -> Option<Context> {
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

    pub(super) fn is_valid(&self) -> bool {
        self.cd.v()
    }

    /// Whether a descriptor with this first word is valid.
    pub(super) fn says_valid(word: u64) -> bool {
        Cd([word, 0, 0, 0, 0, 0, 0, 0]).v()
    }

    pub(super) fn asid(&self) -> u16 {
        self.cd.asid()
    }

    /// The walk of an address; `None` if it has no tables.
    pub(super) fn walk(&self, smmu: &Smmu, ram: &GuestRam, address: u64) -> Option<Walk> {
        let memory = reader(ram);
        let view = View::new(smmu, &memory);
        view.walk(self.stream, self.index, address).ok()
    }
}

impl Checkers {
    /// From now on it is known who changes what a transaction is configured by.
    pub(super) fn watch_configuration(&self, transaction: &Transaction) {
        let (Some(watch), Some(smmu)) = (self.watch(), self.smmu()) else {
            return;
        };
        let memory = reader(&self.ram);
        let view = View::new(&smmu, &memory);
        for level1 in view.level1(transaction) {
            watch.watch(level1.at);
        }
        if let Ok(ste) = view.ste(transaction.stream.0) {
            watch.watch(ste.at);
        }
        if let Some(context) = Context::read(&smmu, &self.ram, space(transaction)) {
            watch.watch(context.at);
        }
    }
}
