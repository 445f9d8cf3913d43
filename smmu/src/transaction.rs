//! Transactions: whose they are, what they ask for, and the answers.

/// Which stream a transaction belongs to: for a PCIe function, its requester ID as the root complex
/// maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Which of a stream's address spaces is meant: for PCIe, the PASID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubstreamId(pub u32);

/// What a transaction does to the memory it addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// A write; otherwise a read.
    pub write: bool,
    /// Privileged; otherwise unprivileged.
    pub privileged: bool,
    /// An instruction fetch; otherwise data. A write is always data.
    pub instruction: bool,
}

impl Access {
    /// An unprivileged data read.
    pub const READ: Access = Access {
        write: false,
        privileged: false,
        instruction: false,
    };
    /// An unprivileged data write.
    pub const WRITE: Access = Access {
        write: true,
        privileged: false,
        instruction: false,
    };
    /// An unprivileged instruction fetch.
    pub const EXECUTE: Access = Access {
        write: false,
        privileged: false,
        instruction: true,
    };

    /// The same, but privileged.
    pub const fn privileged(self) -> Access {
        Access {
            privileged: true,
            ..self
        }
    }
}

/// A request for a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Whose it is.
    pub stream: StreamId,
    /// In which of the stream's address spaces, if the device says so (SSV).
    pub substream: Option<SubstreamId>,
    /// The input address.
    pub address: u64,
    /// What is to be done there.
    pub access: Access,
}

/// The answer to a transaction that may go ahead.
///
/// It holds for the moment at which it is given. A device that lets virtual time pass before it
/// uses the address may use one that software has taken back since, as no real SMMU would let it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address of the transaction's input address.
    pub address: u64,
    /// How many bytes may be accessed from there: to the end of the page or block.
    pub remaining: u64,
    /// The size of that page or block, as a power of two of bytes. Where nothing was translated it
    /// is the smallest page's.
    pub size_log2: u8,
    /// How often the transaction stalled before it was answered.
    pub stalls: u32,
}

/// The transaction was terminated: it does not reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SMMU terminated the transaction")]
pub struct Aborted {
    /// How often the transaction stalled before.
    pub stalls: u32,
    /// To the device it looks as if it had been done: a write is ignored, a read gives zeros.
    /// Otherwise the device is told of an abort. Only with [`Config::raz_wi`](crate::Config::raz_wi).
    pub raz_wi: bool,
}

impl Aborted {
    /// With an abort, after so many stalls.
    pub const fn after(stalls: u32) -> Aborted {
        Aborted {
            stalls,
            raz_wi: false,
        }
    }
}
