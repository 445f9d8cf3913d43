//! How an arm64 Linux kernel wants to be started (Linux, `Documentation/arch/arm64/booting.rst`).
//!
//! `linux-loader` knows this header too, but only in builds for arm64 hosts.

use std::ops::Range;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// What cannot be booted, and what to do about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The file is no uncompressed arm64 kernel.
    #[error("{}: not an arm64 kernel Image: {found}", path.display())]
    NotAnImage {
        /// The kernel file.
        path: PathBuf,
        /// What it is instead, with the cure.
        found: String,
    },
    /// A kernel for big-endian CPUs.
    #[error(
        "{}: a big-endian kernel; build one without CONFIG_CPU_BIG_ENDIAN", path.display()
    )]
    BigEndian {
        /// The kernel file.
        path: PathBuf,
    },
    /// The header's size makes no sense.
    #[error(
        "{}: the kernel Image header is damaged (image_size {image_size:#x}); build or download it again",
        path.display()
    )]
    DamagedHeader {
        /// The kernel file.
        path: PathBuf,
        /// Field of that name.
        image_size: u64,
    },
    /// No kernel can be built with such an offset.
    #[error(
        "{}: text_offset is {text_offset:#x} in the kernel Image header, and must be a multiple of 4 KiB \
         below 2 MiB: the file is damaged, or its header was changed", path.display()
    )]
    TextOffset {
        /// The kernel file.
        path: PathBuf,
        /// Field of that name.
        text_offset: u64,
    },
    /// It does not fit into RAM.
    #[error(
        "guest memory of {} MiB is too small for {contents}: give the guest {} MiB or more",
        mib(*memory_bytes), mib(*needed_bytes)
    )]
    MemoryTooSmall {
        /// RAM that there is.
        memory_bytes: u64,
        /// RAM that would do.
        needed_bytes: u64,
        /// Names and sizes of what is to be loaded.
        contents: String,
    },
    /// The initial RAM disk is too far from the kernel's end.
    #[error(
        "{}: an initrd of {} MiB is beyond the 32 GiB window that the kernel's boot protocol \
         gives it; put the data on a disk image instead", path.display(), mib(*bytes)
    )]
    InitrdTooBig {
        /// The initrd file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
}

const fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// A device tree may have this many bytes, and is given as much room.
pub const DTB_BYTES_MAX: u64 = 2 << 20;

const ALIGN_BYTES: u64 = 2 << 20;
const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"ARM\x64";
/// Kernels before 3.17 have no image_size, and the offset is this whatever the header says.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;
const FLAG_BIG_ENDIAN: u64 = 1;
/// `text_offset` is a multiple of this and less than [`ALIGN_BYTES`]: until Linux 5.7
/// `arch/arm64/kernel/head.S` refuses to build another, and since then it is 0.
const TEXT_OFFSET_ALIGN_BYTES: u64 = 4 << 10;
/// More than any kernel; larger fields come from a damaged file.
const IMAGE_BYTES_MAX: u64 = 1 << 32;
/// The initrd lies in a window of this size, aligned to 1 GiB, together with the kernel.
const WINDOW_BYTES: u64 = 32 << 30;
const WINDOW_ALIGN_BYTES: u64 = 1 << 30;
/// What a kernel wants beyond its files to get anywhere.
const WORKING_BYTES: u64 = 64 << 20;

/// A kernel file's header, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    path: PathBuf,
    /// Distance of the first byte from a multiple of 2 MiB.
    pub text_offset: u64,
    /// Bytes that it takes in memory: more than the file has.
    pub memory_bytes: u64,
}

impl Kernel {
    /// Reads the header of a kernel file.
    pub fn parse(path: &Path, file: &[u8]) -> Result<Kernel, BootError> {
        if file.len() < HEADER_BYTES || file[56..60] != MAGIC {
            let found = describe(path, file);
            return Err(BootError::NotAnImage {
                path: path.into(),
                found,
            });
        }
        let text_offset = u64_at(file, 8);
        let image_size = u64_at(file, 16);
        let flags = u64_at(file, 24);
        if flags & FLAG_BIG_ENDIAN != 0 {
            return Err(BootError::BigEndian { path: path.into() });
        }
        let text_offset = if image_size == 0 {
            OLD_TEXT_OFFSET
        } else {
            text_offset
        };
        if image_size >= IMAGE_BYTES_MAX {
            return Err(BootError::DamagedHeader {
                path: path.into(),
                image_size,
            });
        }
        if text_offset >= ALIGN_BYTES || !text_offset.is_multiple_of(TEXT_OFFSET_ALIGN_BYTES) {
            return Err(BootError::TextOffset {
                path: path.into(),
                text_offset,
            });
        }
        let memory_bytes = image_size.max(file.len() as u64);
        Ok(Kernel {
            path: path.into(),
            text_offset,
            memory_bytes,
        })
    }
}

/// Where the guest's files go in RAM: the kernel at its start, then the device tree, then the
/// initial RAM disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the kernel's first byte goes; also its entry point.
    pub kernel: u64,
    /// Where the device tree goes; [`DTB_BYTES_MAX`] are free there.
    pub dtb: u64,
    /// Where the initial RAM disk goes.
    pub initrd: Option<Range<u64>>,
}

impl Plan {
    /// Finds a place for each file in `ram`, the RAM that `RAM_BASE` is in. The initial RAM disk is
    /// given with its length.
    ///
    /// # Panics
    /// If RAM does not start at a multiple of 2 MiB.
    pub fn new(
        ram: Range<u64>,
        kernel: &Kernel,
        initrd: Option<(&Path, u64)>,
    ) -> Result<Plan, BootError> {
        assert!(
            ram.start.is_multiple_of(ALIGN_BYTES),
            "RAM at {:#x}",
            ram.start
        );
        let start = ram.start + kernel.text_offset;
        let dtb = (start + kernel.memory_bytes).next_multiple_of(ALIGN_BYTES);
        let initrd_start = dtb + DTB_BYTES_MAX;
        let end = match initrd {
            Some((path, bytes)) => {
                let window = ram.start / WINDOW_ALIGN_BYTES * WINDOW_ALIGN_BYTES;
                let end = initrd_start.checked_add(bytes);
                end.filter(|end| *end <= window + WINDOW_BYTES)
                    .ok_or_else(|| BootError::InitrdTooBig {
                        path: path.into(),
                        bytes,
                    })?
            }
            None => initrd_start,
        };
        if end > ram.end {
            return Err(BootError::MemoryTooSmall {
                memory_bytes: ram.end.saturating_sub(ram.start),
                needed_bytes: end - ram.start + WORKING_BYTES,
                contents: contents(kernel, initrd),
            });
        }
        Ok(Plan {
            kernel: start,
            dtb,
            initrd: initrd.map(|_| initrd_start..end),
        })
    }

    /// The state in which the first CPU starts.
    pub fn entry(&self) -> EntryState {
        EntryState {
            pc: self.kernel,
            x: [self.dtb, 0, 0, 0],
            pstate: PSTATE_EL1H_MASKED,
        }
    }
}

/// EL1 with its own stack pointer; debug exceptions, SErrors, IRQs and FIQs masked.
pub const PSTATE_EL1H_MASKED: u64 = 0b1111 << 6 | 0b0101;

/// The first CPU's registers at the kernel's entry. Besides them the MMU and the data cache are
/// off, which is their reset state, and `CNTFRQ_EL0` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// Program counter.
    pub pc: u64,
    /// X0 to X3: the device tree, and three times zero.
    pub x: [u64; 4],
    /// PSTATE, as in `SPSR_EL1`.
    pub pstate: u64,
}

fn contents(kernel: &Kernel, initrd: Option<(&Path, u64)>) -> String {
    let kernel = format!(
        "{} ({} MiB in memory)",
        kernel.path.display(),
        mib(kernel.memory_bytes)
    );
    match initrd {
        Some((path, bytes)) => format!("{kernel} and {} ({} MiB)", path.display(), mib(bytes)),
        None => kernel,
    }
}

/// Says what a file is that is no Image, and how to get one out of it.
fn describe(path: &Path, file: &[u8]) -> String {
    let path = path.display();
    let packed = |what: &str, tool: &str| {
        format!("it is compressed with {what}; unpack it with `{tool} {path} > Image`")
    };
    let is = |magic: &[u8]| file.starts_with(magic);
    if file.is_empty() {
        "the file is empty".into()
    } else if is(b"MZ") && file.get(4..8) == Some(b"zimg") {
        describe_zboot(&path.to_string(), file)
    } else if is(&[0x1f, 0x8b]) {
        packed("gzip", "zcat")
    } else if is(&[0x28, 0xb5, 0x2f, 0xfd]) {
        packed("zstd", "zstd -dc <")
    } else if is(&[0xfd, b'7', b'z', b'X', b'Z', 0]) || is(&[0x5d, 0, 0]) {
        packed("xz", "xzcat")
    } else if is(b"BZh") {
        packed("bzip2", "bzcat")
    } else if is(&[0x02, 0x21, 0x4c, 0x18]) || is(&[0x04, 0x22, 0x4d, 0x18]) {
        packed("lz4", "lz4 -dc <")
    } else if is(b"\x7fELF") {
        "it is an ELF file (vmlinux?); give arch/arm64/boot/Image of the same build".into()
    } else if file.get(0x202..0x206) == Some(b"HdrS") {
        "it is an x86 kernel; give one that was built for arm64".into()
    } else if is(&[0x27, 0x05, 0x19, 0x56]) || is(&[0xd0, 0x0d, 0xfe, 0xed]) {
        "it is a U-Boot image; give the arch/arm64/boot/Image that it was made of".into()
    } else if file.len() < HEADER_BYTES {
        format!(
            "it has only {} bytes; build or download it again",
            file.len()
        )
    } else {
        "it has no \"ARM\\x64\" at offset 56; give arch/arm64/boot/Image of a kernel build".into()
    }
}

/// A kernel that unpacks itself under UEFI (Linux, `drivers/firmware/efi/libstub/zboot-header.S`):
/// offset and length of the payload, and the name of the compression.
fn describe_zboot(path: &str, file: &[u8]) -> String {
    let word = |at: usize| {
        let bytes = file
            .get(at..at + 4)
            .and_then(|bytes| bytes.first_chunk().copied());
        bytes.map_or(0, u32::from_le_bytes)
    };
    let (offset, bytes) = (word(8), word(12));
    let name = file
        .get(24..56)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .next();
    let tool = match name.unwrap_or_default() {
        b"gzip" => "zcat",
        b"zstd" | b"zstd22" => "zstd -dc",
        b"xzkern" | b"lzma" => "xzcat",
        b"lz4" => "lz4 -dc",
        b"lzo" => "lzop -dc",
        _ => {
            return "it is an EFI zboot image of an unknown compression; give the Image of the \
                     same build"
                .into();
        }
    };
    format!(
        "it is an EFI zboot image; unpack it with `tail -c +{} {path} | head -c {bytes} | {tool} > \
         Image`",
        u64::from(offset) + 1
    )
}

fn u64_at(file: &[u8], at: usize) -> u64 {
    file[at..]
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
