//! IHI 0070, *Register overview* and *Register formats*: the Non-secure programming interface.

/// Size of the register frame: page 0 and page 1, 64 KiB each.
pub const FRAME_BYTES: u64 = 0x2_0000;

/// SMMU_IDR0: features.
pub const IDR0: u64 = 0x00;
/// SMMU_IDR1: sizes of tables and queues.
pub const IDR1: u64 = 0x04;
/// SMMU_IDR2: features of the virtual ATOS page.
pub const IDR2: u64 = 0x08;
/// SMMU_IDR3: features.
pub const IDR3: u64 = 0x0c;
/// SMMU_IDR4: the implementation's own.
pub const IDR4: u64 = 0x10;
/// SMMU_IDR5: addresses, granules, STALL_MAX.
pub const IDR5: u64 = 0x14;
/// SMMU_IIDR: the implementation.
pub const IIDR: u64 = 0x18;
/// SMMU_AIDR: the architecture.
pub const AIDR: u64 = 0x1c;
/// SMMU_CR0: enables.
pub const CR0: u64 = 0x20;
/// SMMU_CR0ACK: enables that are in force.
pub const CR0ACK: u64 = 0x24;
/// SMMU_CR1: attributes of tables and queues.
pub const CR1: u64 = 0x28;
/// SMMU_CR2: E2H, RECINVSID.
pub const CR2: u64 = 0x2c;
/// SMMU_GBPA: what passes while SMMUEN is 0.
pub const GBPA: u64 = 0x44;
/// SMMU_IDR6: enhanced command queue interfaces.
pub const IDR6: u64 = 0x190;
/// SMMU_IRQ_CTRL: enables of interrupts.
pub const IRQ_CTRL: u64 = 0x50;
/// SMMU_IRQ_CTRLACK: those in force.
pub const IRQ_CTRLACK: u64 = 0x54;
/// SMMU_GERROR: errors, active where they differ from SMMU_GERRORN.
pub const GERROR: u64 = 0x60;
/// SMMU_GERRORN: errors that are acknowledged.
pub const GERRORN: u64 = 0x64;
/// SMMU_GERROR_IRQ_CFG0: address of the message.
pub const GERROR_IRQ_CFG0: u64 = 0x68;
/// SMMU_GERROR_IRQ_CFG1: its data.
pub const GERROR_IRQ_CFG1: u64 = 0x70;
/// SMMU_GERROR_IRQ_CFG2: its attributes.
pub const GERROR_IRQ_CFG2: u64 = 0x74;
/// SMMU_STRTAB_BASE_CFG: format, split and size of the stream table.
pub const STRTAB_BASE_CFG: u64 = 0x88;
/// SMMU_CMDQ_PROD.
pub const CMDQ_PROD: u64 = 0x98;
/// SMMU_CMDQ_CONS, with the error that stopped the queue.
pub const CMDQ_CONS: u64 = 0x9c;
/// Page 0's alias of the two registers that live on page 1.
pub const EVENTQ_PROD_ALIAS: u64 = 0xa8;
/// Page 0's alias of SMMU_EVENTQ_CONS.
pub const EVENTQ_CONS_ALIAS: u64 = 0xac;
/// SMMU_EVENTQ_IRQ_CFG0: address of the message.
pub const EVENTQ_IRQ_CFG0: u64 = 0xb0;
/// SMMU_EVENTQ_IRQ_CFG1: its data.
pub const EVENTQ_IRQ_CFG1: u64 = 0xb8;
/// SMMU_EVENTQ_IRQ_CFG2: its attributes.
pub const EVENTQ_IRQ_CFG2: u64 = 0xbc;
/// Page 0's alias of the two registers that live on page 1.
pub const PRIQ_PROD_ALIAS: u64 = 0xc8;
/// Page 0's alias of SMMU_PRIQ_CONS.
pub const PRIQ_CONS_ALIAS: u64 = 0xcc;
/// SMMU_PRIQ_IRQ_CFG0: address of the message.
pub const PRIQ_IRQ_CFG0: u64 = 0xd0;
/// SMMU_PRIQ_IRQ_CFG1: its data.
pub const PRIQ_IRQ_CFG1: u64 = 0xd8;
/// SMMU_PRIQ_IRQ_CFG2: its attributes.
pub const PRIQ_IRQ_CFG2: u64 = 0xdc;
/// SMMU_EVENTQ_PROD.
pub const EVENTQ_PROD: u64 = 0x1_00a8;
/// SMMU_EVENTQ_CONS.
pub const EVENTQ_CONS: u64 = 0x1_00ac;
/// SMMU_PRIQ_PROD.
pub const PRIQ_PROD: u64 = 0x1_00c8;
/// SMMU_PRIQ_CONS.
pub const PRIQ_CONS: u64 = 0x1_00cc;

/// SMMU_CR0 and SMMU_CR0ACK.
pub mod cr0 {
    /// Transactions are translated.
    pub const SMMUEN: u32 = 1 << 0;
    /// With PRI only.
    pub const PRIQEN: u32 = 1 << 1;
    /// The event queue takes records.
    pub const EVENTQEN: u32 = 1 << 2;
    /// Commands are executed.
    pub const CMDQEN: u32 = 1 << 3;
    /// With ATS only.
    pub const ATSCHK: u32 = 1 << 4;
    /// What is always there. VMW and the rest are RES0 here.
    pub const IMPLEMENTED: u32 = SMMUEN | EVENTQEN | CMDQEN;
}

/// SMMU_CR1: table attributes above, queue attributes below. Kept for software to read back.
pub mod cr1 {
    /// Attributes of tables.
    pub const TABLE: u32 = 0xfc0;
    /// Attributes of queues.
    pub const QUEUE: u32 = 0x03f;
}

/// SMMU_CR2: PTM is RES0 without BTM.
pub mod cr2 {
    /// RES0 without HYP.
    pub const E2H: u32 = 1 << 0;
    /// C_BAD_STREAMID is recorded.
    pub const RECINVSID: u32 = 1 << 1;
    /// With ATSRECERR, that is with ATS, only.
    pub const REC_CFG_ATS: u32 = 1 << 3;
}

/// SMMU_GBPA.
pub mod gbpa {
    /// Everything is aborted.
    pub const ABORT: u32 = 1 << 20;
    /// A write is in progress.
    pub const UPDATE: u32 = 1 << 31;
    /// PRIVCFG and INSTCFG, RES0 without ATTR_PERMS_OVR. No outcome shows what they do.
    pub const PERMS: u32 = 0xf << 16;
    /// SHCFG = use incoming. Overrides of types are not implemented, so this is all it can say.
    pub const SHCFG_INCOMING: u32 = 1 << 12;
}

/// SMMU_IRQ_CTRL and SMMU_IRQ_CTRLACK.
pub mod irq_ctrl {
    /// GERROR's interrupt.
    pub const GERROR: u32 = 1 << 0;
    /// With PRI only.
    pub const PRIQ: u32 = 1 << 1;
    /// The event queue's interrupt.
    pub const EVENTQ: u32 = 1 << 2;
    /// What is always there.
    pub const IMPLEMENTED: u32 = GERROR | EVENTQ;
}

/// SMMU_GERROR and SMMU_GERRORN.
pub mod gerror {
    /// The command queue stopped.
    pub const CMDQ_ERR: u32 = 1 << 0;
    /// A record could not be written.
    pub const EVENTQ_ABT_ERR: u32 = 1 << 2;
    /// With PRI only.
    pub const PRIQ_ABT_ERR: u32 = 1 << 3;
    /// The message of a CMD_SYNC was aborted.
    pub const MSI_CMDQ_ABT_ERR: u32 = 1 << 4;
    /// The event queue's message was aborted.
    pub const MSI_EVENTQ_ABT_ERR: u32 = 1 << 5;
    /// With PRI only.
    pub const MSI_PRIQ_ABT_ERR: u32 = 1 << 6;
    /// GERROR's message was aborted.
    pub const MSI_GERROR_ABT_ERR: u32 = 1 << 7;
    /// What is always there.
    pub const IMPLEMENTED: u32 =
        CMDQ_ERR | EVENTQ_ABT_ERR | MSI_CMDQ_ABT_ERR | MSI_EVENTQ_ABT_ERR | MSI_GERROR_ABT_ERR;
    /// Its bits by name, those that this implementation never sets included.
    pub const NAMES: &[(&str, u32)] = &[
        ("CMDQ_ERR", CMDQ_ERR),
        ("EVENTQ_ABT_ERR", EVENTQ_ABT_ERR),
        ("PRIQ_ABT_ERR", PRIQ_ABT_ERR),
        ("MSI_CMDQ_ABT_ERR", MSI_CMDQ_ABT_ERR),
        ("MSI_EVENTQ_ABT_ERR", MSI_EVENTQ_ABT_ERR),
        ("MSI_PRIQ_ABT_ERR", MSI_PRIQ_ABT_ERR),
        ("MSI_GERROR_ABT_ERR", MSI_GERROR_ABT_ERR),
        ("SFM_ERR", 1 << 8),
        ("CMDQP_ERR", 1 << 9),
    ];
}

/// What of each register software's value is kept in.
pub mod mask {
    /// SMMU_STRTAB_BASE.
    pub const STRTAB_BASE: u64 = 0x400f_ffff_ffff_ffc0;
    /// SMMU_STRTAB_BASE_CFG: format, split and size of the stream table.
    pub const STRTAB_BASE_CFG: u32 = 0x0003_07ff;
    /// SMMU_STRTAB_BASE_CFG.LOG2SIZE.
    pub const STRTAB_BASE_CFG_LOG2SIZE: u32 = 0x3f;
    /// SMMU_*Q_BASE.
    pub const QUEUE_BASE: u64 = 0x400f_ffff_ffff_ffff;
    /// An index with its wrap flag.
    pub const QUEUE_INDEX: u32 = 0x000f_ffff;
    /// OVFLG and OVACKFLG.
    pub const QUEUE_OVERFLOW: u32 = 1 << 31;
    /// SMMU_CMDQ_CONS.ERR.
    pub const CMDQ_CONS_ERR: u32 = 0x7f << 24;
    /// SMMU_*_IRQ_CFG0.
    pub const IRQ_CFG0: u64 = 0x000f_ffff_ffff_fffc;
    /// SMMU_*_IRQ_CFG2.
    pub const IRQ_CFG2: u32 = 0x3f;
    /// PRIQ_IRQ_CFG2.LO: the interrupt comes with the last message of a group.
    pub const IRQ_CFG2_LO: u32 = 1 << 31;
}
