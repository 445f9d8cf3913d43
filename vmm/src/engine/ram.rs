//! The guest's RAM, as the host gives it.

use std::fs::File;
use std::io;
use std::rc::Rc;

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};
use stallbox_devices::GuestRam;
use stallbox_firmware::layout;
use stallbox_machine::config::{MachineConfig, MemoryBackend};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// RAM of a machine, all zero.
pub(crate) fn allocate(config: &MachineConfig) -> Result<GuestRam> {
    let bytes = config.memory_bytes;
    let size = usize::try_from(bytes).context("--memory is more than this host can address")?;
    let region = map(config.memory_backend, size).with_context(|| {
        let hint = match config.memory_backend {
            MemoryBackend::Anon | MemoryBackend::Memfd => String::new(),
            MemoryBackend::Hugetlb => format!("; {}", huge_pages()),
        };
        format!(
            "cannot map {} MiB of guest RAM (--memory){hint}",
            bytes >> 20
        )
    })?;
    let region = GuestRegionMmap::new(region, GuestAddress(layout::RAM_BASE))
        .context("guest RAM wraps around the end of the address space")?;
    let ram = GuestMemoryMmap::from_regions(vec![region]).context("cannot make guest RAM")?;
    Ok(Rc::new(ram))
}

fn map(backend: MemoryBackend, size: usize) -> Result<MmapRegion> {
    let read_write = libc::PROT_READ | libc::PROT_WRITE;
    let region = match backend {
        MemoryBackend::Anon => MmapRegion::new(size)?,
        MemoryBackend::Memfd => {
            let file =
                memfd_create(c"stallbox-ram", MemfdFlags::CLOEXEC).context("memfd_create")?;
            let file = File::from(file);
            file.set_len(size as u64).context("cannot size the memfd")?;
            MmapRegion::from_file(FileOffset::new(file, 0), size)?
        }
        // Reserved when it is mapped: too few pages are an error now, not a SIGBUS later.
        MemoryBackend::Hugetlb => MmapRegionBuilder::new(size)
            .with_mmap_prot(read_write)
            .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB)
            .with_hugetlbfs(true)
            .build()?,
    };
    Ok(region)
}

/// What the host has of huge pages, and how to get more.
fn huge_pages() -> String {
    let meminfo = std::fs::read_to_string("/proc/meminfo")
        .unwrap_or_else(|error: io::Error| format!("(/proc/meminfo: {error})"));
    let value = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("?", str::trim).to_owned()
    };
    format!(
        "the host has {} free huge pages of {} (vm.nr_hugepages sets how many there are; --memory must \
         be a multiple of their size)",
        value("HugePages_Free:"),
        value("Hugepagesize:")
    )
}
