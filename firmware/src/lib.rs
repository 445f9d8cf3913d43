//! What the guest is handed at reset: where things are ([`layout`]), the device tree that says so
//! ([`fdt`]), and the registers and places that the kernel's boot protocol asks for ([`boot`]).
//!
//! ```
//! use std::path::Path;
//! use stallbox_firmware::{boot, fdt::Board, layout};
//!
//! // Stands for a kernel file: an empty Image of 16 MiB.
//! let mut file = vec![0; 64];
//! file[16..24].copy_from_slice(&(16u64 << 20).to_le_bytes());
//! file[56..60].copy_from_slice(b"ARM\x64");
//!
//! let mut board = Board::new(4, 512 << 20, 1);
//! board.bootargs = "console=ttyS0".into();
//! let kernel = boot::Kernel::parse(Path::new("Image"), &file)?;
//! let plan = boot::Plan::new(layout::RAM_BASE..layout::RAM_BASE + (512 << 20), &kernel, None)?;
//! let blob = board.flatten()?;
//! assert_eq!(plan.kernel, 0x4000_0000);
//! assert!(blob.len() as u64 <= boot::DTB_BYTES_MAX);
//! assert_eq!(plan.entry().x, [plan.dtb, 0, 0, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod boot;
pub mod fdt;
pub mod layout;
