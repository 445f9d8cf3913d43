//! Loads the guest: kernel, device tree and initial RAM disk into RAM.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stallbox_firmware::boot::{EntryState, Kernel, Plan};
use stallbox_firmware::fdt::{Board, PciFunction};
use stallbox_firmware::layout;
use stallbox_guest_images as guest_images;
use stallbox_guest_images::cpio;
use stallbox_machine::config::{Ats, MachineConfig};
use stallbox_machine::{SMMU_DEVICE_ID, World};
use stallbox_timeline::seeded;
use vm_memory::{Bytes, GuestAddress};

use crate::config::GuestConfig;

/// What every guest's command line begins with, unless `--bootargs` says otherwise. `panic=-1` makes a panic end the run at once; the
/// ZIP driver offers user queues only if told so; `cryptomgr.notests=0` behind it brings the crypto
/// API's self-tests back.
const BOOTARGS: &str = "console=ttyS0,115200 earlycon=uart8250,mmio,0x9000000 panic=-1 \
     hisi_zip.uacce_mode=1 cryptomgr.notests=1";

/// What is loaded into RAM, read from disk.
pub struct Files {
    kernel_path: PathBuf,
    kernel: Vec<u8>,
    /// What a message names that is about the initial RAM disk.
    initrd_path: PathBuf,
    initrd: Option<Vec<u8>>,
    bootargs: Option<String>,
}

impl Files {
    /// Reads a guest's files, for a machine with so much RAM.
    pub fn read(guest: &GuestConfig, memory_bytes: u64) -> Result<Files> {
        let kernel = std::fs::read(&guest.kernel).with_context(|| {
            format!(
                "cannot read the kernel {} (--kernel)",
                guest.kernel.display()
            )
        })?;
        // Here what is wrong with it is said before anything is built.
        Kernel::parse(&guest.kernel, &kernel)?;
        let room = room(memory_bytes, kernel.len() as u64);
        let initrd_path = guest.initrd.first().or(guest.added.first());
        Ok(Files {
            kernel_path: guest.kernel.clone(),
            kernel,
            initrd_path: initrd_path.map_or_else(|| "/stallbox/command".into(), Clone::clone),
            initrd: initrd(guest, room)?,
            bootargs: guest.bootargs.clone(),
        })
    }

    /// The files of a guest that was read before: a kernel, and all initial RAM disks one behind the other,
    /// each with what a message calls it.
    pub fn of(
        kernel: (PathBuf, Vec<u8>),
        initrd: Option<(PathBuf, Vec<u8>)>,
        bootargs: Option<String>,
    ) -> Result<Files> {
        Kernel::parse(&kernel.0, &kernel.1)?;
        let (initrd_path, initrd) = initrd.unzip();
        Ok(Files {
            kernel_path: kernel.0,
            kernel: kernel.1,
            initrd_path: initrd_path.unwrap_or_else(|| "/stallbox/command".into()),
            initrd,
            bootargs,
        })
    }

    /// The kernel.
    pub fn kernel(&self) -> &[u8] {
        &self.kernel
    }

    /// Whether there is an initial RAM disk beside the command's.
    pub fn has_initrd(&self) -> bool {
        self.initrd.is_some()
    }

    /// The initial RAM disks with the archives of added folders, without the command's.
    pub fn archives(&self) -> &[u8] {
        self.initrd.as_deref().unwrap_or_default()
    }

    /// The initial RAM disks, with the command in an archive of its own behind them.
    fn initrd(&self, command: Option<&str>) -> Option<Cow<'_, [u8]>> {
        let Some(command) = command else {
            return self.initrd.as_deref().map(Cow::Borrowed);
        };
        let mut archive = cpio::Archive::new();
        archive.directory("stallbox", 0o755);
        archive.file("stallbox/command", 0o755, command.as_bytes());
        let mut initrd = self.initrd.clone().unwrap_or_default();
        cpio::append(&mut initrd, archive);
        Some(Cow::Owned(initrd))
    }
}

/// Copies the guest into RAM, and says how the first vCPU starts.
pub fn load(world: &World, machine: &MachineConfig, guest: &GuestConfig) -> Result<EntryState> {
    let files = Files::read(guest, machine.memory_bytes)?;
    place(
        world,
        machine,
        &files,
        &guest.append,
        guest.command.as_deref(),
    )
}

/// [`load`] for files that were read before: `append` goes to the kernel's command line, `command` is
/// run by the guest's init.
pub fn place(
    world: &World,
    machine: &MachineConfig,
    files: &Files,
    append: &str,
    command: Option<&str>,
) -> Result<EntryState> {
    let kernel = Kernel::parse(&files.kernel_path, &files.kernel)?;
    let initrd = files.initrd(command);
    let ram = layout::RAM_BASE..layout::RAM_BASE + machine.memory_bytes;
    let plan = Plan::new(
        ram,
        &kernel,
        initrd
            .as_ref()
            .map(|it| (files.initrd_path.as_path(), it.len() as u64)),
    )?;

    let mut board = Board::new(
        machine.cpus.into(),
        machine.memory_bytes,
        machine.nodes.into(),
    );
    let bootargs = files.bootargs.as_deref().unwrap_or(BOOTARGS);
    board.bootargs = format!("{bootargs} {append}").trim().to_owned();
    board.initrd = plan.initrd.clone();
    board.rng_seed = Some(rng_seed(machine.seed));
    board.kaslr_seed = machine.kaslr_seed;
    if machine.smmu_msi
        && let Some(smmu) = &mut board.smmu
    {
        smmu.msi_device_id = Some(SMMU_DEVICE_ID);
    }
    if let Some(smmu) = &mut board.smmu {
        smmu.coherent = machine.smmu.cohacc.unwrap_or(true);
    }
    for (stream, accelerator) in world.devices.accelerators() {
        if let Some(node) = accelerator.firmware() {
            board.pci_functions.push(PciFunction {
                // The StreamID is the requester ID, and all functions are on bus 0.
                device: (stream >> 3) as u8,
                vendor_id: node.vendor_id,
                device_id: node.device_id,
                can_stall: node.can_stall,
            });
        }
    }
    if machine.ats() >= Ats::Ats
        && let Some(pcie) = &mut board.pcie
    {
        pcie.ats = true;
    }
    if machine.ats() >= Ats::Pri
        && let Some(smmu) = &mut board.smmu
    {
        smmu.priq_spi = Some(layout::spi::SMMU_PRIQ);
    }
    let blob = board.flatten().context("cannot make the device tree")?;

    let place = |bytes: &[u8], address| {
        world
            .ram
            .write_slice(bytes, GuestAddress(address))
            .with_context(|| format!("cannot place {} bytes at {address:#x}", bytes.len()))
    };
    place(&files.kernel, plan.kernel)?;
    place(&blob, plan.dtb)?;
    if let (Some(bytes), Some(range)) = (&initrd, &plan.initrd) {
        place(bytes, range.start)?;
    }
    Ok(plan.entry())
}

/// The initial RAM disks and archives of the added folders, one behind the other: the kernel unpacks
/// them in this order (Documentation/driver-api/early-userspace/buffer-format.rst).
///
/// With added folders they can have `room` bytes.
fn initrd(guest: &GuestConfig, room: u64) -> Result<Option<Vec<u8>>> {
    let mut initrd: Option<Vec<u8>> = None;
    for path in &guest.initrd {
        let bytes = std::fs::read(path).with_context(|| {
            format!(
                "cannot read the initial RAM disk {} (--initrd)",
                path.display()
            )
        })?;
        match &mut initrd {
            None => initrd = Some(bytes),
            Some(first) => cpio::append_bytes(first, &bytes),
        }
    }
    for folder in &guest.added {
        let initrd = initrd.get_or_insert_default();
        let archive = added(folder, initrd, room)?;
        cpio::append_bytes(initrd, &archive);
    }
    Ok(initrd)
}

/// As much as a kernel can unpack: RAM disks stay until all of them are unpacked (init/initramfs.c,
/// do_populate_rootfs), and the first file system may have half of what they leave (mm/shmem.c,
/// shmem_default_max_blocks). So a third of RAM, without the kernel (about twice its file), its
/// `struct page`s and tables, and what it keeps for contiguous allocations.
fn room(memory_bytes: u64, kernel_bytes: u64) -> u64 {
    memory_bytes.saturating_sub(2 * kernel_bytes + memory_bytes / 16 + CMA_BYTES) / 3
}

/// Linux, CONFIG_CMA_SIZE_MBYTES.
const CMA_BYTES: u64 = 16 << 20;

/// The archive of an added folder, to be put behind `initrd`.
fn added(folder: &Path, initrd: &[u8], room: u64) -> Result<Vec<u8>> {
    let left = room.saturating_sub(initrd.len() as u64);
    let mut below = cpio::Names::default();
    below.read(initrd);
    guest_images::archive(folder, &below, left).map_err(|error| {
        let context = match error {
            guest_images::Error::TooMuch { .. } => format!(
                "--add: in RAM of this size (--memory) the kernel can unpack {} MiB, of which {} MiB are \
                 taken",
                room >> 20,
                initrd.len() >> 20
            ),
            _ => "--add".to_owned(),
        };
        anyhow::Error::new(error).context(context)
    })
}

/// The kernel's first entropy, from the run's seed: equal runs shuffle equally.
fn rng_seed(seed: u64) -> [u8; 32] {
    use rand_core::Rng;
    let mut bytes = [0; 32];
    seeded(seed, "rng-seed").fill_bytes(&mut bytes);
    bytes
}
