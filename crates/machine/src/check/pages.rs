//! What the guest's kernel thinks of a page: where its `struct page` is, and what it says.
//!
//! Nothing is taken from the version. The size of pages is in the Image's header
//! (`Documentation/arch/arm64/booting.rst`), the way to the tables in `swapper_pg_dir` and
//! `kimage_voffset`, and the way to `struct page` in `mem_section` (`include/linux/mmzone.h`,
//! `sparse_encode_mem_map` in `mm/sparse.c`), which arm64 kernels have whatever `VMEMMAP_START` is. What
//! comes of it must say of the pages of the kernel's text what is true of them. Read in Linux 6.1,
//! 6.12, 7.2 and 7.3: `arch/arm64/include/asm/{memory,sparsemem}.h`,
//! `include/linux/{mm_types,page-flags}.h`.

use std::cell::OnceCell;

use stallbox_devices::GuestRam;
use stallbox_output::remark;
use vm_memory::{Bytes, GuestAddress};

use super::symbols::Symbols;
use crate::stage1::{Half, read64};

/// `compound_head`: bit 0 says that the rest leads to the head. It is its address, or, in 7.2 and later with
/// CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP (`compound_info`), a mask that makes the head's address of this one.
const COMPOUND_HEAD: u64 = 8;
/// `page_type`, and in the upper half of the same word `_refcount`.
const PAGE_TYPE: u64 = 0x30;
/// A page of the kernel's image: of no type, mapped by nobody, with one reference.
const IMAGE: u64 = 0x1_ffff_ffff;
/// Where page flags are, in `flags`; above are the zone, the node and such.
const FLAGS: u64 = 0xf_ffff;
/// Sizes of `struct page`: more than 64 with some ways to debug, and with more CPUs than `flags` has bits.
const PAGE_BYTES: [u64; 5] = [64, 80, 96, 112, 128];
/// Sizes of `struct mem_section`: without and with CONFIG_PAGE_EXTENSION.
const SECTION_BYTES: [u64; 2] = [16, 32];
/// `SECTION_HAS_MEM_MAP`.
const HAS_MEM_MAP: u64 = 1 << 1;
/// More bits than `section_mem_map` has for flags, and fewer than are zero in what it is made of.
const SECTION_FLAGS: u64 = 0xfff;
/// Pages of the kernel's text that are looked at.
const SAMPLES: u64 = 16;

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

/// Whether this `page_type` is that of a page of the buddy allocator. No version takes another's for
/// anything else.
fn is_buddy(page_type: u32) -> bool {
    // PGTY_buddy of 6.12 and later; in 6.1, all bits but PG_buddy.
    page_type >> 24 == 0xf0 || page_type == !0x80
}

/// The kernel's `struct page`s.
#[derive(Debug)]
pub(super) struct Pages {
    /// log2 of the size of its pages.
    shift: u32,
    /// Physical addresses of symbols.
    stext: u64,
    etext: u64,
    swapper_pg_dir: u64,
    kimage_voffset: u64,
    mem_section: u64,
    /// Once the kernel is up; `None` if that kernel is not known.
    layout: OnceCell<Option<Layout>>,
}

/// How `struct page`s are found.
#[derive(Clone, Copy, Debug)]
struct Layout {
    half: Half,
    shift: u32,
    /// Virtual address of the array that `mem_section` points to.
    roots: u64,
    section_bytes: u64,
    page_bytes: u64,
}

impl Pages {
    /// By the symbols of a kernel whose image was loaded at `load`, and has not run yet; why not, if
    /// it cannot be.
    pub(super) fn new(symbols: &Symbols, load: u64, ram: &GuestRam) -> Result<Pages, String> {
        const CURE: &str = "give the vmlinux or System.map of the kernel that runs with --symbols \
                            (System.map of a Debian kernel is in the package with -dbg), or, of one \
                            with CONFIG_KALLSYMS_ALL, what its /proc/kallsyms says";
        let symbol = |name| {
            let address = symbols.address(name);
            address.ok_or_else(|| format!("the symbols have no {name}: {CURE}"))
        };
        let text = symbol("_text")?;
        let place = |name| Ok(load.wrapping_add(symbol(name)?.wrapping_sub(text)));
        let banner: Result<u64, String> = place("linux_banner");
        let mut words = [0; 14];
        let found = ram.read_slice(&mut words, GuestAddress(banner?));
        if found.is_err() || &words != b"Linux version " {
            return Err(format!(
                "the symbols are another kernel's, for linux_banner is not where they have it: {CURE}"
            ));
        }
        let flags = read64(ram, load + 24).unwrap_or(0);
        let shift = match flags >> 1 & 3 {
            1 => 12,
            2 => 14,
            3 => 16,
            _ => {
                return Err(
                    "the header of the kernel's Image does not say how large its pages are (flags, \
                     bits 1 and 2): it must be of Linux 4.6 or later"
                        .to_owned(),
                );
            }
        };
        Ok(Pages {
            shift,
            stext: place("_stext")?,
            etext: place("_etext")?,
            swapper_pg_dir: place("swapper_pg_dir")?,
            kimage_voffset: place("kimage_voffset")?,
            mem_section: place("mem_section")?,
            layout: OnceCell::new(),
        })
    }

    /// log2 of the size of a page.
    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    /// The kernel is up by now: finds its pages, and says so if it cannot.
    pub(super) fn settle(&self, ram: &GuestRam) {
        self.layout.get_or_init(|| match self.find(ram) {
            Ok(layout) => Some(layout),
            Err(reason) => {
                remark(format!(
                    "stallbox: check dma: no page of this run is checked: {reason}"
                ));
                None
            }
        });
    }

    fn find(&self, ram: &GuestRam) -> Result<Layout, String> {
        let half = self.half(ram)?;
        let roots = read64(ram, self.mem_section).unwrap_or(0);
        let each = |section_bytes| {
            PAGE_BYTES.map(|page_bytes| Layout {
                half,
                shift: self.shift,
                roots,
                section_bytes,
                page_bytes,
            })
        };
        let all = SECTION_BYTES.into_iter().flat_map(each);
        let mut right = all.filter(|layout| self.is_right(ram, layout));
        right.next().ok_or_else(|| {
            "what mem_section leads to is no struct page as of Linux 6.1 to 7.3 (_refcount at 0x34, in \
             64 to 128 bytes): the kernel's is changed, or of another version"
                .to_owned()
        })
    }

    /// The kernel's half of the address space: the one in which its text is where it is.
    fn half(&self, ram: &GuestRam) -> Result<Half, String> {
        // Bits of address, and where in swapper_pg_dir the table begins. A kernel for 52 bits falls back to
        // 48, or 47 with 16 KiB, where the CPU has fewer; with 64 KiB, it then uses the table's end
        // (TTBR1_BADDR_4852_OFFSET in arch/arm64/include/asm/pgtable-hwdef.h).
        let kinds: &[(u32, u64)] = match self.shift {
            12 => &[(48, 0), (39, 0)],
            14 => &[(47, 0), (48, 0), (36, 0)],
            _ => &[(48, 0), (42, 0), (48, 0x1e00), (52, 0)],
        };
        let offset = read64(ram, self.kimage_voffset).unwrap_or(0);
        let mut halves = kinds.iter().map(|(input_bits, begin)| Half {
            table: self.swapper_pg_dir + begin,
            granule: self.shift,
            input_bits: *input_bits,
        });
        let maps =
            |half: &Half| half.translate(ram, self.stext.wrapping_add(offset)) == Some(self.stext);
        halves.find(maps).ok_or_else(|| {
            let bits: Vec<_> = kinds.iter().map(|(bits, _)| bits.to_string()).collect();
            format!(
                "swapper_pg_dir does not map the kernel's text with pages of {} KiB and {} bits of address \
                 (52 bits with 4 or 16 KiB are not known: the CPUs of --engine soft have no LPA2)",
                1 << (self.shift - 10),
                bits.join(" or ")
            )
        })
    }

    /// Whether the pages of the kernel's text are reserved, and have one reference and no user.
    fn is_right(&self, ram: &GuestRam, layout: &Layout) -> bool {
        let length = self.etext.saturating_sub(self.stext);
        let is_text = |address| {
            let page = layout.own_page(ram, address)?;
            let flags = read64(ram, page.0)? & FLAGS;
            let counts = read64(ram, page.0 + PAGE_TYPE)?;
            // PG_reserved has another place in each version.
            Some(counts == IMAGE && flags.is_power_of_two())
        };
        let mut addresses = (0..SAMPLES).map(|sample| self.stext + length / SAMPLES * sample);
        addresses.all(|address| is_text(address) == Some(true))
    }

    fn layout(&self) -> Option<&Layout> {
        self.layout.get()?.as_ref()
    }

    /// The words that hold the page's reference count, its own and that of its head. They say who
    /// freed it and who got it, if a store to them is one of those that [`counted`] tells.
    pub(super) fn count_words(&self, ram: &GuestRam, address: u64) -> Option<[u64; 2]> {
        let layout = self.layout()?;
        let words = [layout.own_page(ram, address)?.0, layout.page(ram, address)?];
        Some(words.map(|at| at + PAGE_TYPE))
    }

    /// What the kernel thinks of the page at `address`; `None` if that cannot be told.
    pub(super) fn state(&self, ram: &GuestRam, address: u64) -> Option<PageState> {
        let at = self.layout()?.page(ram, address)?;
        let word = read64(ram, at + PAGE_TYPE)?;
        Some(match word >> 32 {
            0 => PageState::Free {
                buddy: is_buddy(word as u32),
            },
            _ => PageState::Used,
        })
    }
}

impl Layout {
    /// `struct page` of the frame at `address`: its physical address, and the kernel's for it.
    fn own_page(&self, ram: &GuestRam, address: u64) -> Option<(u64, u64)> {
        let word = |at| read64(ram, self.half.translate(ram, at)?);
        // SECTION_SIZE_BITS in arch/arm64/include/asm/sparsemem.h.
        let section = address >> if self.shift == 16 { 29 } else { 27 };
        let per_root = (1 << self.shift) / self.section_bytes;
        let root = word(self.roots.wrapping_add(8 * (section / per_root)))?;
        if root == 0 {
            return None;
        }
        let map = word(root.wrapping_add(section % per_root * self.section_bytes))?;
        if map & HAS_MEM_MAP == 0 {
            return None;
        }
        let index = (address >> self.shift) * self.page_bytes;
        let page = (map & !SECTION_FLAGS).wrapping_add(index);
        Some((self.half.translate(ram, page)?, page))
    }

    /// The same, or that of the head of the compound page that it is part of.
    fn page(&self, ram: &GuestRam, address: u64) -> Option<u64> {
        let (at, page) = self.own_page(ram, address)?;
        let head = read64(ram, at + COMPOUND_HEAD)?;
        if head & 1 == 0 {
            return Some(at);
        }
        self.half.translate(ram, head_of(page, head))
    }
}

/// Address of the head of which `page` is a tail, by its `compound_head`.
fn head_of(page: u64, head: u64) -> u64 {
    // No struct page is in the last GiB (VMEMMAP_END), and no compound page has as many of them.
    if head >= 0_u64.wrapping_sub(1 << 30) {
        page & head & !1
    } else {
        head & !1
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use vm_memory::GuestMemoryMmap;

    use super::*;

    const LOAD: u64 = 0x4000_0000;

    /// Symbols and words of RAM of a kernel that has booted: those that lead to its pages.
    struct Kernel {
        symbols: Symbols,
        ram: GuestRam,
    }

    impl Kernel {
        fn new(captured: &str) -> Kernel {
            let ranges = [(GuestAddress(LOAD), 1 << 30)];
            let ram = Rc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
            let kernel = Kernel {
                symbols: Symbols::of_map(captured.as_bytes()).unwrap(),
                ram,
            };
            for (at, word) in captured.lines().filter_map(|line| line.split_once(" = ")) {
                let number = |text| u64::from_str_radix(text, 16).unwrap();
                kernel.store(number(at), number(word));
            }
            kernel
        }

        fn store(&self, at: u64, word: u64) {
            self.ram.write_obj(word.to_le(), GuestAddress(at)).unwrap();
        }

        fn pages(&self) -> Result<Pages, String> {
            Pages::new(&self.symbols, LOAD, &self.ram)
        }
    }

    const KERNELS: [&str; 7] = [
        include_str!("pages/6.1.txt"),
        include_str!("pages/6.1-kaslr.txt"),
        include_str!("pages/6.12.txt"),
        include_str!("pages/6.12-16k.txt"),
        include_str!("pages/6.12-64k.txt"),
        include_str!("pages/6.12-64k-kaslr.txt"),
        include_str!("pages/7.3.txt"),
    ];

    #[test]
    fn pages_of_real_kernels_are_found() {
        let found = KERNELS.map(|captured| {
            let kernel = Kernel::new(captured);
            let pages = kernel.pages().unwrap();
            assert_eq!(pages.state(&kernel.ram, LOAD), None, "not known yet");
            pages.settle(&kernel.ram);
            // The kernel's own first page, and one that it had not given to anybody.
            assert_eq!(pages.state(&kernel.ram, LOAD), Some(PageState::Used));
            let free = pages.state(&kernel.ram, LOAD + 0x1000_0000);
            assert_eq!(free, Some(PageState::Free { buddy: true }));
            let layout = pages.layout().unwrap();
            let page = layout.own_page(&kernel.ram, LOAD).unwrap().1;
            let sizes = [layout.section_bytes, layout.page_bytes];
            (pages.shift(), layout.half.input_bits, sizes, page)
        });
        // VMEMMAP_START of memory.h, for these sizes and PAGE_OFFSET; RAM begins there.
        assert_eq!(
            found,
            [
                (12, 48, [32, 64], 0xffff_fc00_0000_0000),
                (12, 48, [32, 64], 0xffff_fc00_0000_0000),
                (12, 48, [16, 64], 0xffff_fdff_c000_0000),
                (14, 47, [32, 64], 0xffff_ffbf_c000_0000),
                (16, 48, [16, 64], 0xffff_ffdf_c000_0000),
                (16, 48, [16, 64], 0xffff_ffdf_c000_0000),
                (12, 48, [16, 64], 0xffff_fdff_c000_0000),
            ]
        );
    }

    #[test]
    fn a_kernel_that_shuffles_its_addresses_has_names() {
        for (captured, moved) in [
            (KERNELS[0], 0),
            (KERNELS[1], 0x3678_9aa0_0000),
            (KERNELS[4], 0),
            (KERNELS[5], 0x2483_bb60_0000),
        ] {
            let kernel = Kernel::new(captured);
            let stext = kernel.symbols.address("_stext").unwrap();
            let names = kernel.symbols.names(Some(LOAD), &kernel.ram);
            let name = names.name(stext.wrapping_add(moved) + 4);
            assert_eq!(name.as_deref(), Some("_stext+0x4"), "{moved:#x}");
            // Before the kernel knows, its addresses are what they were linked for.
            let offset = kernel.symbols.address("kimage_voffset").unwrap();
            let text = kernel.symbols.address("_text").unwrap();
            kernel.store(LOAD + (offset - text), 0);
            let names = kernel.symbols.names(Some(LOAD), &kernel.ram);
            assert_eq!(names.name(stext).as_deref(), Some("_stext+0x0"));
        }
    }

    #[test]
    fn what_is_not_as_thought_is_refused_with_the_reason() {
        for captured in KERNELS {
            let kernel = Kernel::new(captured);
            let pages = kernel.pages().unwrap();
            let layout = pages.find(&kernel.ram).unwrap();
            let page = layout.own_page(&kernel.ram, pages.stext).unwrap().0;
            kernel.store(page + PAGE_TYPE, 2 << 32 | 0xffff_ffff);
            let reason = pages.find(&kernel.ram).unwrap_err();
            assert!(reason.contains("no struct page as of Linux"), "{reason}");

            kernel.store(pages.kimage_voffset, 0);
            let reason = pages.find(&kernel.ram).unwrap_err();
            assert!(
                reason.contains("does not map the kernel's text"),
                "{reason}"
            );
            pages.settle(&kernel.ram);
            assert_eq!(pages.state(&kernel.ram, LOAD), None);
            assert_eq!(pages.count_words(&kernel.ram, LOAD), None);

            kernel.store(LOAD + 24, 0);
            let reason = kernel.pages().unwrap_err();
            assert!(reason.contains("how large its pages are"), "{reason}");

            let banner = kernel.symbols.address("linux_banner").unwrap();
            let text = kernel.symbols.address("_text").unwrap();
            kernel.store(LOAD + (banner - text), 0);
            let reason = kernel.pages().unwrap_err();
            assert!(reason.contains("another kernel's"), "{reason}");
        }
    }

    #[test]
    fn the_stub_of_a_debian_package_is_no_system_map() {
        // linux-image-6.1.0-50-arm64 6.1.176-1.
        let stub =
            b"ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";
        let kernel = Kernel::new(KERNELS[0]);
        let symbols = Symbols::of_map(stub).unwrap();
        let reason = Pages::new(&symbols, LOAD, &kernel.ram).unwrap_err();
        assert!(
            reason.contains("no _text") && reason.contains("-dbg"),
            "{reason}"
        );
    }

    #[test]
    fn a_tail_has_its_head_by_address_or_by_mask() {
        let [page, head] = [0xffff_fdff_c000_1ac0, 0xffff_fdff_c000_1000];
        assert_eq!(head_of(page, head | 1), head);
        // set_compound_head of 7.3: GENMASK(63, order + 6), for order 6, and for 9.
        assert_eq!(head_of(page, !0 << 12 | 1), head);
        assert_eq!(head_of(page, !0 << 15 | 1), 0xffff_fdff_c000_0000);
    }

    #[test]
    fn the_buddy_allocators_pages_are_known_in_each_version() {
        // PG_buddy of 6.1, cleared among ones; PGTY_buddy of 6.12 and 7.3 (page-flags.h).
        assert!(is_buddy(0xffff_ff7f) && is_buddy(0xf000_0000));
        // Nobody's, a page table of 6.1, one of 6.12, and one that is mapped.
        let others = [0xffff_ffff, 0xffff_fdff, 0xf2ff_ffff, 0];
        assert!(!others.into_iter().any(is_buddy));
    }
}
