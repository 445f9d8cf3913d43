//! Where the registers lie and what their fields are; no behaviour.
//!
//! IHI 0069 H.b, *Distributor register map* (12.8), *Redistributor register map* (12.10), *ITS
//! register map* (12.18) and *AArch64 System register descriptions* (12.2).

use bitfield_struct::bitfield;

/// First INTID that belongs to the distributor; those below are private to a CPU.
pub(super) const FIRST_SPI: u32 = 32;
/// First INTID that is an LPI.
pub(super) const FIRST_LPI: u32 = 8192;
/// What an acknowledge returns when there is nothing to acknowledge.
pub(super) const SPURIOUS: u32 = 1023;
/// Bits of an INTID that any register here can hold. `ICC_CTLR_EL1.IDbits` has no value between 16
/// and 24, and 16 are plenty.
pub(super) const INTID_BITS: u32 = 16;
/// Implemented priority bits: 32 levels, the top five bits of the byte.
pub(super) const PRIORITY_BITS: u32 = 5;
/// The bits of a priority byte that are implemented.
pub(super) const PRIORITY_MASK: u8 = 0xf8;

/// One frame of registers.
pub(super) const FRAME_BYTES: u64 = 0x1_0000;
/// A redistributor: the `RD_base` frame and the `SGI_base` frame.
pub(super) const REDISTRIBUTOR_BYTES: u64 = 2 * FRAME_BYTES;

/// What `GICD_IIDR`, `GICR_IIDR` and `GITS_IIDR` read: a product of nobody's. It must not be zero
/// nor look like a part with an erratum, or Linux works around what is not there.
pub(super) const IIDR: u32 = 0x5300_0000;
/// `PIDR2`: GICv3 in the architecture revision field.
pub(super) const PIDR2: u32 = 0x3b;
/// Offset of `PIDR2` in every frame that has one.
pub(super) const PIDR2_OFFSET: u64 = 0xffe8;

/// Distributor registers.
pub(super) mod gicd {
    pub(crate) const CTLR: u64 = 0x0000;
    pub(crate) const TYPER: u64 = 0x0004;
    pub(crate) const IIDR: u64 = 0x0008;
    /// Reads as zero here: `TYPER2` (no GICv4.1), `ITARGETSR` (affinity routing), `IGRPMODR` and `NSACR` (one
    /// Security state), `SGIR`, `CPENDSGIR` and `SPENDSGIR` (affinity routing).
    pub(crate) const RES0: [core::ops::Range<u64>; 4] =
        [0x00c..0x010, 0x800..0xc00, 0xd00..0xd80, 0xe00..0xf30];
    /// One for each INTID, 64 bits.
    pub(crate) const IROUTER: u64 = 0x6000;
    pub(crate) const IROUTER_END: u64 = 0x8000;
}

/// Redistributor registers in the `RD_base` frame.
pub(super) mod gicr {
    pub(crate) const CTLR: u64 = 0x0000;
    pub(crate) const IIDR: u64 = 0x0004;
    pub(crate) const TYPER: u64 = 0x0008;
    pub(crate) const TYPER_HIGH: u64 = 0x000c;
    pub(crate) const WAKER: u64 = 0x0014;
    pub(crate) const PROPBASER: u64 = 0x0070;
    pub(crate) const PROPBASER_HIGH: u64 = 0x0074;
    pub(crate) const PENDBASER: u64 = 0x0078;
    pub(crate) const PENDBASER_HIGH: u64 = 0x007c;
    /// `IGRPMODR0` and `NSACR`, in the `SGI_base` frame: zero with one Security state.
    pub(crate) const SGI_RES0: [u64; 2] = [0xd00, 0xe00];
}

/// ITS registers in the control frame, and the one of the translation frame.
pub(super) mod gits {
    pub(crate) const CTLR: u64 = 0x0000;
    pub(crate) const IIDR: u64 = 0x0004;
    pub(crate) const TYPER: u64 = 0x0008;
    pub(crate) const TYPER_HIGH: u64 = 0x000c;
    pub(crate) const CBASER: u64 = 0x0080;
    pub(crate) const CBASER_HIGH: u64 = 0x0084;
    pub(crate) const CWRITER: u64 = 0x0088;
    pub(crate) const CWRITER_HIGH: u64 = 0x008c;
    pub(crate) const CREADR: u64 = 0x0090;
    pub(crate) const CREADR_HIGH: u64 = 0x0094;
    /// Eight of them, 64 bits each.
    pub(crate) const BASER: u64 = 0x0100;
    pub(crate) const BASER_END: u64 = 0x0140;
}

/// `GICD_CTLR`, as it is with one Security state.
#[bitfield(u32)]
pub struct GicdCtlr {
    pub enable_grp0: bool,
    pub enable_grp1: bool,
    #[bits(2)]
    _res0: u8,
    pub are: bool,
    _res0: bool,
    pub ds: bool,
    #[bits(25)]
    _res0: u32,
}

/// `GICD_TYPER`.
#[bitfield(u32)]
pub struct GicdTyper {
    /// Highest SPI is 32 x (this + 1) - 1.
    #[bits(5)]
    pub it_lines_number: u8,
    #[bits(3)]
    pub cpu_number: u8,
    pub espi: bool,
    pub nmi: bool,
    pub security_extn: bool,
    #[bits(5)]
    pub num_lpis: u8,
    pub mbis: bool,
    pub lpis: bool,
    pub dvis: bool,
    /// INTID bits less one.
    #[bits(5)]
    pub id_bits: u8,
    pub a3v: bool,
    pub no_1_of_n: bool,
    #[bits(6)]
    _rss_and_espi_range: u8,
}

/// `GICR_CTLR`.
#[bitfield(u32)]
pub struct GicrCtlr {
    pub enable_lpis: bool,
    /// `EnableLPIs` can be cleared again.
    pub ces: bool,
    #[bits(30)]
    _res0: u32,
}

/// `GICR_TYPER`.
#[bitfield(u64)]
pub struct GicrTyper {
    pub plpis: bool,
    #[bits(3)]
    _vlpis_dirty_direct: u8,
    pub last: bool,
    #[bits(3)]
    _dpgs_mpam_rvpeid: u8,
    pub processor_number: u16,
    #[bits(8)]
    _common_lpi_aff: u8,
    pub affinity: u32,
}

/// `GICR_WAKER`.
#[bitfield(u32)]
pub struct GicrWaker {
    _imp_def: bool,
    pub processor_sleep: bool,
    pub children_asleep: bool,
    #[bits(29)]
    _res0: u32,
}

/// `GICR_PROPBASER`: where the LPI configuration table is.
#[bitfield(u64)]
pub struct Propbaser {
    /// INTID bits less one.
    #[bits(5)]
    pub id_bits: u8,
    #[bits(2)]
    _res0: u8,
    #[bits(3)]
    pub inner_cache: u8,
    #[bits(2)]
    pub shareability: u8,
    #[bits(40)]
    pub address_4k: u64,
    #[bits(4)]
    _res0: u8,
    #[bits(3)]
    pub outer_cache: u8,
    #[bits(5)]
    _res0: u8,
}

/// The bits of `GICR_PROPBASER` that can be written.
pub(super) const PROPBASER_MASK: u64 = 0x070f_ffff_ffff_ff9f;

/// `GICR_PENDBASER`: where this CPU's LPI pending table is.
#[bitfield(u64)]
pub struct Pendbaser {
    #[bits(7)]
    _res0: u8,
    #[bits(3)]
    pub inner_cache: u8,
    #[bits(2)]
    pub shareability: u8,
    #[bits(4)]
    _res0: u8,
    #[bits(36)]
    pub address_64k: u64,
    #[bits(4)]
    _res0: u8,
    #[bits(3)]
    pub outer_cache: u8,
    #[bits(3)]
    _res0: u8,
    /// Pending Table Zero: software vouches that nothing is pending. Reads as zero.
    pub ptz: bool,
    _res0: bool,
}

/// The bits of `GICR_PENDBASER` that can be written.
pub(super) const PENDBASER_MASK: u64 = 0x470f_ffff_ffff_0f80;

/// One byte of the LPI configuration table (*LPI Configuration tables*, 5.1.1).
#[bitfield(u8)]
pub struct LpiConfig {
    pub enable: bool,
    _res1: bool,
    #[bits(6)]
    pub priority_4: u8,
}

impl LpiConfig {
    /// The priority, as far as it is implemented.
    pub fn priority(self) -> u8 {
        (self.priority_4() << 2) & PRIORITY_MASK
    }
}

/// `ICC_CTLR_EL1`.
#[bitfield(u32)]
pub struct IccCtlr {
    /// The binary point of group 0 serves group 1 too.
    pub cbpr: bool,
    /// End of interrupt only drops the priority; `ICC_DIR_EL1` deactivates.
    pub eoi_mode: bool,
    #[bits(6)]
    _res0: u8,
    /// Implemented priority bits less one.
    #[bits(3)]
    pub pri_bits: u8,
    #[bits(3)]
    pub id_bits: u8,
    #[bits(18)]
    _res0: u32,
}

/// What is written to `ICC_SGI1R_EL1` and its two siblings.
#[bitfield(u64)]
pub struct IccSgir {
    pub target_list: u16,
    pub aff1: u8,
    #[bits(4)]
    pub intid: u8,
    #[bits(4)]
    _res0: u8,
    pub aff2: u8,
    /// Interrupt Routing Mode: everybody but the sender.
    pub irm: bool,
    #[bits(3)]
    _res0: u8,
    /// Range selector. RES0 here: `ICC_CTLR_EL1.RSS` is 0.
    #[bits(4)]
    pub rs: u8,
    pub aff3: u8,
    _res0: u8,
}

/// Packs a system register's encoding into 16 bits, as MRS and MSR hold it.
pub const fn sysreg(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> u16 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// The CPU interface's system registers.
pub mod icc {
    use super::sysreg;

    /// Priority mask.
    pub const PMR_EL1: u16 = sysreg(3, 0, 4, 6, 0);
    /// Acknowledge, group 0.
    pub const IAR0_EL1: u16 = sysreg(3, 0, 12, 8, 0);
    /// End of interrupt, group 0.
    pub const EOIR0_EL1: u16 = sysreg(3, 0, 12, 8, 1);
    /// Highest priority pending interrupt, group 0.
    pub const HPPIR0_EL1: u16 = sysreg(3, 0, 12, 8, 2);
    /// Binary point, group 0.
    pub const BPR0_EL1: u16 = sysreg(3, 0, 12, 8, 3);
    /// Active priorities, group 0.
    pub const AP0R0_EL1: u16 = sysreg(3, 0, 12, 8, 4);
    /// Active priorities, group 1.
    pub const AP1R0_EL1: u16 = sysreg(3, 0, 12, 9, 0);
    /// Deactivate.
    pub const DIR_EL1: u16 = sysreg(3, 0, 12, 11, 1);
    /// Running priority.
    pub const RPR_EL1: u16 = sysreg(3, 0, 12, 11, 3);
    /// Generate group 1 SGIs.
    pub const SGI1R_EL1: u16 = sysreg(3, 0, 12, 11, 5);
    /// Generate the other Security state's group 1 SGIs.
    pub const ASGI1R_EL1: u16 = sysreg(3, 0, 12, 11, 6);
    /// Generate group 0 SGIs.
    pub const SGI0R_EL1: u16 = sysreg(3, 0, 12, 11, 7);
    /// Acknowledge, group 1.
    pub const IAR1_EL1: u16 = sysreg(3, 0, 12, 12, 0);
    /// End of interrupt, group 1.
    pub const EOIR1_EL1: u16 = sysreg(3, 0, 12, 12, 1);
    /// Highest priority pending interrupt, group 1.
    pub const HPPIR1_EL1: u16 = sysreg(3, 0, 12, 12, 2);
    /// Binary point, group 1.
    pub const BPR1_EL1: u16 = sysreg(3, 0, 12, 12, 3);
    /// Control.
    pub const CTLR_EL1: u16 = sysreg(3, 0, 12, 12, 4);
    /// System register enable.
    pub const SRE_EL1: u16 = sysreg(3, 0, 12, 12, 5);
    /// Enable group 0.
    pub const IGRPEN0_EL1: u16 = sysreg(3, 0, 12, 12, 6);
    /// Enable group 1.
    pub const IGRPEN1_EL1: u16 = sysreg(3, 0, 12, 12, 7);
}

/// `GITS_TYPER`.
#[bitfield(u64)]
pub struct GitsTyper {
    pub physical: bool,
    #[bits(3)]
    _virtual: u8,
    /// Bytes of a translation table entry less one.
    #[bits(4)]
    pub itt_entry_size: u8,
    /// EventID bits less one.
    #[bits(5)]
    pub id_bits: u8,
    /// DeviceID bits less one.
    #[bits(5)]
    pub dev_bits: u8,
    pub seis: bool,
    /// Collections name a redistributor by its address; if not, by its processor number.
    pub pta: bool,
    #[bits(4)]
    _res0: u8,
    /// Collections held without memory.
    pub hcc: u8,
    /// Collection bits less one, if `cil`; otherwise there are 16 bits.
    #[bits(4)]
    pub cid_bits: u8,
    pub cil: bool,
    #[bits(27)]
    _res0: u32,
}

/// `GITS_CBASER`: where the command queue is.
#[bitfield(u64)]
pub struct Cbaser {
    /// Length in 4 KiB pages less one.
    pub size: u8,
    #[bits(2)]
    _res0: u8,
    #[bits(2)]
    pub shareability: u8,
    #[bits(40)]
    pub address_4k: u64,
    _res0: bool,
    #[bits(3)]
    pub outer_cache: u8,
    #[bits(3)]
    _res0: u8,
    #[bits(3)]
    pub inner_cache: u8,
    _res0: bool,
    pub valid: bool,
}

/// The bits of `GITS_CBASER` that can be written.
pub(super) const CBASER_MASK: u64 = 0xb8ef_ffff_ffff_fcff;

/// `GITS_BASER<n>`: where one of the ITS's own tables is.
#[bitfield(u64)]
pub struct Baser {
    /// Length in pages less one.
    pub size: u8,
    /// 4, 16 or 64 KiB.
    #[bits(2)]
    pub page_size: u8,
    #[bits(2)]
    pub shareability: u8,
    #[bits(36)]
    pub address_4k: u64,
    /// Bytes of an entry less one.
    #[bits(5)]
    pub entry_size: u8,
    #[bits(3)]
    pub outer_cache: u8,
    #[bits(3)]
    pub table_type: u8,
    #[bits(3)]
    pub inner_cache: u8,
    /// Two levels.
    pub indirect: bool,
    pub valid: bool,
}

/// The bits of `GITS_BASER<n>` that can be written: all but type and entry size.
pub(super) const BASER_MASK: u64 = 0xf8e0_ffff_ffff_ffff;
/// `GITS_BASER<n>.Type`: the device table.
pub(super) const TABLE_DEVICES: u8 = 1;
/// `GITS_BASER<n>.Type`: the collection table.
pub(super) const TABLE_COLLECTIONS: u8 = 4;
