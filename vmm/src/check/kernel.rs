//! What can be known of the guest's kernel from outside: where its addresses are, who called, and
//! what it thinks of a page.
//!
//! Linux 6.12: `arch/arm64/include/asm/memory.h` (the layout of the address space), `struct page` in
//! `include/linux/mm_types.h`.

use std::cell::Cell;

use stallbox_devices::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use super::symbols::Symbols;
use crate::stage1::{Half, read64};

/// Callers that are shown.
const FRAMES_MAX: usize = 16;
/// `struct page` of 64 bytes (CONFIG_HAVE_ALIGNED_STRUCT_PAGE), and in it:
const STRUCT_PAGE_BYTES: u64 = 64;
/// `compound_head`: bit 0 says that the rest is the head's address.
const COMPOUND_HEAD: u64 = 8;
/// `page_type`, whose upper byte is 0xf0 for a page of the buddy allocator (PGTY_buddy).
const PAGE_TYPE: u64 = 0x30;
/// `_refcount`.
const REFCOUNT: u64 = 0x34;

fn read32(ram: &GuestRam, at: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    ram.read_slice(&mut bytes, GuestAddress(at)).ok()?;
    Some(u32::from_le_bytes(bytes))
}

/// A vCPU's registers, as far as a backtrace needs them.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Which vCPU.
    pub cpu: usize,
    /// The next instruction.
    pub pc: u64,
    /// x29.
    pub frame: u64,
    /// x30.
    pub link: u64,
    /// The kernel's half of the address space.
    pub half: Half,
}

impl Caller {
    /// Return addresses, innermost first, by the chain of frame records (AAPCS64, *The Frame
    /// Pointer*).
    pub(crate) fn frames(&self, ram: &GuestRam) -> Vec<u64> {
        let mut frames = vec![self.pc];
        if self.link != 0 {
            frames.push(self.link);
        }
        let mut frame = self.frame;
        while frames.len() < FRAMES_MAX && frame >> 48 == 0xffff && frame.is_multiple_of(8) {
            let word = |at| read64(ram, self.half.translate(ram, at)?);
            let (Some(next), Some(link)) = (word(frame), word(frame.wrapping_add(8))) else {
                break;
            };
            if link == 0 {
                break;
            }
            if frames.last() != Some(&link) {
                frames.push(link);
            }
            // The stack grows downwards: a chain that does not go up has an end or a loop.
            if next <= frame {
                break;
            }
            frame = next;
        }
        frames
    }
}

/// What a store to a word of [`Pages::count_words`] made of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Freed,
    Allocated,
}

/// Whether the reference count in this word became 0, or is not 0 any more.
pub(super) fn counted(old: u64, new: u64) -> Option<Counted> {
    match (old >> 32, new >> 32) {
        (0, 0) => None,
        (_, 0) => Some(Counted::Freed),
        (0, _) => Some(Counted::Allocated),
        _ => None,
    }
}

/// What the kernel thinks of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageState {
    /// In use.
    Used,
    /// `_refcount` is 0: free, or about to be.
    Free {
        /// In the buddy allocator already.
        buddy: bool,
    },
}

/// The kernel's `struct page`s.
#[derive(Debug)]
pub(super) struct Pages {
    half: Half,
    /// Where the kernel's image is loaded, and where it thinks it is.
    load: u64,
    text: u64,
    memstart_at: u64,
    va_bits: u32,
    /// A page in use was seen as one, so the layout is as thought.
    proven: Cell<bool>,
}

impl Pages {
    /// By the symbols of a kernel whose image was loaded at `load`; why not, if it cannot be.
    pub(super) fn new(symbols: &Symbols, load: u64) -> Result<Pages, String> {
        let symbol = |name| {
            symbols
                .address(name)
                .ok_or_else(|| format!("the symbols have no {name}"))
        };
        let (text, swapper) = (symbol("_text")?, symbol("swapper_pg_dir")?);
        let memstart = symbol("memstart_addr")?;
        // KIMAGE_VADDR is 2 GiB (MODULES_VSIZE) behind the linear map's end, -(1 << (VA_BITS - 1)).
        let va_bits = match text {
            0xffff_8000_8000_0000 => 48,
            0xffff_ffc0_8000_0000 => 39,
            other => {
                return Err(format!(
                    "_text is at {other:#x}: only kernels with 4 KiB pages and 39 or 48 bits of \
                     address are known"
                ));
            }
        };
        Ok(Pages {
            half: Half {
                table: load + (swapper - text),
                granule: 12,
                input_bits: va_bits,
            },
            load,
            text,
            memstart_at: load + (memstart - text),
            va_bits,
            proven: Cell::new(false),
        })
    }

    /// `struct page` of the frame at `address`.
    fn own_page(&self, ram: &GuestRam, address: u64) -> Option<u64> {
        let memstart = read64(ram, self.memstart_at)?;
        // VMEMMAP_START is VMEMMAP_SIZE below -1 GiB; the linear map is half of the kernel's space.
        let size = (1_u64 << (self.va_bits - 1) >> 12) * STRUCT_PAGE_BYTES;
        let start = 0_u64.wrapping_sub(1 << 30).wrapping_sub(size);
        let index = (address >> 12).wrapping_sub(memstart >> 12);
        let page = start.wrapping_add(index.wrapping_mul(STRUCT_PAGE_BYTES));
        self.half.translate(ram, page)
    }

    /// The same, or that of the head of the compound page that it is part of.
    fn page(&self, ram: &GuestRam, address: u64) -> Option<u64> {
        let at = self.own_page(ram, address)?;
        let head = read64(ram, at + COMPOUND_HEAD)?;
        if head & 1 != 0 {
            return self.half.translate(ram, head & !1);
        }
        Some(at)
    }

    /// The words that hold the page's reference count, its own and that of its head. They say who
    /// freed it and who got it, if a store to them is one of those that [`counts`] tells.
    pub(super) fn count_words(&self, ram: &GuestRam, address: u64) -> Option<[u64; 2]> {
        let words = [self.own_page(ram, address)?, self.page(ram, address)?];
        Some(words.map(|at| at + PAGE_TYPE))
    }

    /// What the kernel thinks of the page at `address`; `None` if that cannot be told.
    pub(super) fn state(&self, ram: &GuestRam, address: u64) -> Option<PageState> {
        debug_assert!(self.load <= self.half.table && self.text >> 48 == 0xffff);
        let at = self.page(ram, address)?;
        let (count, kind) = (read32(ram, at + REFCOUNT)?, read32(ram, at + PAGE_TYPE)?);
        if count != 0 {
            self.proven.set(true);
            return Some(PageState::Used);
        }
        // Before any page was seen in use, the layout may be another kernel's.
        self.proven.get().then_some(PageState::Free {
            buddy: kind >> 24 == 0xf0,
        })
    }
}
