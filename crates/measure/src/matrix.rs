//! The rows and columns of the matrix: the names that the guest's `pinbench` knows, and what they
//! are called in tables.

use stallbox_firmware::layout;

/// A way of preparing memory, or an activity of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading {
    /// As on the command line, in JSON, and in `pinbench list`.
    pub name: &'static str,
    /// In tables.
    pub title: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
}

const fn heading(name: &'static str, title: &'static str, about: &'static str) -> Heading {
    Heading { name, title, about }
}

/// How memory was prepared.
pub const ROWS: &[Heading] = &[
    heading("none", "nothing", "mapped, never touched"),
    heading(
        "touched",
        "touched",
        "a byte of each page written by the CPU",
    ),
    heading("populate", "MAP_POPULATE", "mmap with MAP_POPULATE"),
    heading("mlock", "mlock", "mlock of the whole range"),
    heading(
        "mlockall_onfault",
        "mlockall ONFAULT",
        "mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT), then not touched",
    ),
    heading("hugetlb", "hugetlb", "MAP_HUGETLB, 2 MiB pages, populated"),
    heading(
        "thp",
        "THP",
        "transparent huge pages: MADV_HUGEPAGE, then touched",
    ),
    heading(
        "uacce_ctrl",
        "pin: uacce_ctrl",
        "pinned by the ioctl of /dev/uacce_ctrl",
    ),
    heading(
        "mempinfd",
        "pin: mempinfd",
        "pinned through the descriptor of the system call mempinfd",
    ),
    heading(
        "ats_none",
        "ATS+PRI: nothing",
        "mapped, never touched; the device translates and asks for pages itself",
    ),
    heading(
        "ats_touched",
        "ATS+PRI: touched",
        "a byte of each page written by the CPU; the device translates when it needs to",
    ),
    heading(
        "ats_prefill",
        "ATS+PRI: prefill",
        "a byte of each page written by the CPU; the device asks for translations ahead of use",
    ),
];

/// What does a row's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// The ZIP engine, whose transactions stall.
    Zip,
    /// The test engine with a translation cache and page requests.
    Ats,
    /// The same, which asks for translations ahead of use.
    AtsPrefill,
}

impl Device {
    /// All, in the order of their rows.
    pub const ALL: [Device; 3] = [Device::Zip, Device::Ats, Device::AtsPrefill];

    /// That of a row.
    pub fn of(row: &str) -> Device {
        match row {
            "ats_none" | "ats_touched" => Device::Ats,
            "ats_prefill" => Device::AtsPrefill,
            _ => Device::Zip,
        }
    }

    /// Whether it has a translation cache.
    pub fn translates(self) -> bool {
        self != Device::Zip
    }

    /// What tells its guests from those of the ZIP engine in the same column.
    pub fn suffix(self) -> &'static str {
        match self {
            Device::Zip => "",
            Device::Ats => "/ats",
            Device::AtsPrefill => "/ats_prefill",
        }
    }
}

/// What the kernel does meanwhile.
pub const COLUMNS: &[Heading] = &[
    heading("none", "nothing", "no activity"),
    heading("swap", "swap-out", "MADV_PAGEOUT to a zram disk"),
    heading("migrate", "migration", "move_pages to the other NUMA node"),
    heading(
        "numa_balancing",
        "NUMA bal.",
        "automatic NUMA balancing: hinting faults, and pages that follow the CPU",
    ),
    heading(
        "compaction",
        "compaction",
        "/proc/sys/vm/compact_memory, with holes to fill",
    ),
    heading("collapse", "collapse", "MADV_COLLAPSE to a huge page"),
    heading("khugepaged", "khugepaged", "MADV_HUGEPAGE and the daemon"),
    heading("ksm", "KSM", "MADV_MERGEABLE and ksmd, on equal pages"),
    heading(
        "cma",
        "CMA",
        "allocations from the contiguous memory area in which the memory lies",
    ),
    heading("fork", "fork", "fork, and writes that copy"),
    heading(
        "file",
        "file reclaim",
        "sources are clean pages of an ext2 file; MADV_PAGEOUT drops them",
    ),
    heading(
        "memcg",
        "memcg",
        "memory.reclaim of half of the process's control group",
    ),
];

/// What a column adds to the kernel's command line.
///
/// Movable memory comes from the CMA area only while that holds more than half of what is free in its
/// zone (mm/page_alloc.c: __rmqueue), so it is large, and on node 0, where the operations run.
pub fn command_line(column: &str, memory_bytes: u64) -> String {
    if column == "cma" {
        let base = layout::RAM_BASE + memory_bytes / 8;
        format!("cma={}M@{base:#x}", (memory_bytes >> 20) * 5 / 16)
    } else {
        String::new()
    }
}

/// The heading of this name.
pub fn find(headings: &'static [Heading], name: &str) -> Option<&'static Heading> {
    headings.iter().find(|heading| heading.name == name)
}
