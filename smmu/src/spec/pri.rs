//! IHI 0070, *PRI queue structure*: the 16-byte entries of the page request queue. Positions as in
//! Linux's `PRIQ_0_*` and `PRIQ_1_*` (drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h).

use crate::messages::PageRequest;

/// Size of an entry.
pub const PAGE_REQUEST_BYTES: u64 = 16;

const PRIVILEGED: u64 = 1 << 58;
const EXECUTE: u64 = 1 << 59;
const READ: u64 = 1 << 60;
const WRITE: u64 = 1 << 61;
const LAST: u64 = 1 << 62;
const SSV: u64 = 1 << 63;

/// The entry of a page request. Without a SubstreamID there is neither Execute nor Privileged.
pub(crate) const fn entry(request: &PageRequest) -> [u64; 2] {
    let mut who = request.stream.0 as u64;
    if let Some(substream) = request.substream {
        who |= SSV | ((substream.0 & 0xf_ffff) as u64) << 32;
        if request.execute {
            who |= EXECUTE;
        }
        if request.privileged {
            who |= PRIVILEGED;
        }
    }
    if request.read {
        who |= READ;
    }
    if request.write {
        who |= WRITE;
    }
    if request.last {
        who |= LAST;
    }
    [
        who,
        request.address & !0xfff | (request.index & 0x1ff) as u64,
    ]
}

/// An entry as it is in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(
    /// The doublewords as they are.
    pub [u64; 2],
);

impl Entry {
    /// StreamID.
    pub const fn sid(&self) -> u32 {
        self.0[0] as u32
    }
    /// SubstreamID, which counts with SSV.
    pub const fn ssid(&self) -> u32 {
        (self.0[0] >> 32) as u32 & 0xf_ffff
    }
    /// SSV: the request has a SubstreamID.
    pub const fn ssv(&self) -> bool {
        self.0[0] & SSV != 0
    }
    /// R: the page is to be readable.
    pub const fn read(&self) -> bool {
        self.0[0] & READ != 0
    }
    /// W: the page is to be writable.
    pub const fn write(&self) -> bool {
        self.0[0] & WRITE != 0
    }
    /// X: the page is to be executable.
    pub const fn execute(&self) -> bool {
        self.0[0] & EXECUTE != 0
    }
    /// Priv: by privileged accesses.
    pub const fn privileged(&self) -> bool {
        self.0[0] & PRIVILEGED != 0
    }
    /// L: the last request of its group.
    pub const fn last(&self) -> bool {
        self.0[0] & LAST != 0
    }
    /// PRGIndex: the group.
    pub const fn index(&self) -> u16 {
        self.0[1] as u16 & 0x1ff
    }
    /// The page's address.
    pub const fn address(&self) -> u64 {
        self.0[1] & !0xfff
    }
    /// Whether it asks for access to a page. A stop marker does not.
    pub const fn asks(&self) -> bool {
        self.read() || self.write()
    }
}
