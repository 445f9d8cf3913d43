//! IHI 0070, *PRI queue structure*: the 16-byte entries of the page request queue. Positions as in
//! Linux's `PRIQ_0_*` and `PRIQ_1_*` (drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h).

use crate::PageRequest;

/// Size of an entry.
pub(crate) const PAGE_REQUEST_BYTES: u64 = 16;

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
