//! IHI 0070, *Register overview* and *Register formats*: the Non-secure programming interface.

/// Size of the register frame: page 0 and page 1, 64 KiB each.
pub(crate) const FRAME_BYTES: u64 = 0x2_0000;

pub(crate) const IDR0: u64 = 0x00;
pub(crate) const IDR1: u64 = 0x04;
pub(crate) const IDR3: u64 = 0x0c;
pub(crate) const IDR5: u64 = 0x14;
pub(crate) const IIDR: u64 = 0x18;
pub(crate) const AIDR: u64 = 0x1c;
pub(crate) const CR0: u64 = 0x20;
pub(crate) const CR0ACK: u64 = 0x24;
pub(crate) const CR1: u64 = 0x28;
pub(crate) const CR2: u64 = 0x2c;
pub(crate) const GBPA: u64 = 0x44;
pub(crate) const IRQ_CTRL: u64 = 0x50;
pub(crate) const IRQ_CTRLACK: u64 = 0x54;
pub(crate) const GERROR: u64 = 0x60;
pub(crate) const GERRORN: u64 = 0x64;
pub(crate) const GERROR_IRQ_CFG0: u64 = 0x68;
pub(crate) const GERROR_IRQ_CFG1: u64 = 0x70;
pub(crate) const GERROR_IRQ_CFG2: u64 = 0x74;
pub(crate) const STRTAB_BASE_CFG: u64 = 0x88;
pub(crate) const CMDQ_PROD: u64 = 0x98;
pub(crate) const CMDQ_CONS: u64 = 0x9c;
/// Page 0's alias of the two registers that live on page 1.
pub(crate) const EVENTQ_PROD_ALIAS: u64 = 0xa8;
pub(crate) const EVENTQ_CONS_ALIAS: u64 = 0xac;
pub(crate) const EVENTQ_IRQ_CFG0: u64 = 0xb0;
pub(crate) const EVENTQ_IRQ_CFG1: u64 = 0xb8;
pub(crate) const EVENTQ_IRQ_CFG2: u64 = 0xbc;
/// Page 0's alias of the two registers that live on page 1.
pub(crate) const PRIQ_PROD_ALIAS: u64 = 0xc8;
pub(crate) const PRIQ_CONS_ALIAS: u64 = 0xcc;
pub(crate) const PRIQ_IRQ_CFG0: u64 = 0xd0;
pub(crate) const PRIQ_IRQ_CFG1: u64 = 0xd8;
pub(crate) const PRIQ_IRQ_CFG2: u64 = 0xdc;
pub(crate) const EVENTQ_PROD: u64 = 0x1_00a8;
pub(crate) const EVENTQ_CONS: u64 = 0x1_00ac;
pub(crate) const PRIQ_PROD: u64 = 0x1_00c8;
pub(crate) const PRIQ_CONS: u64 = 0x1_00cc;

/// SMMU_CR0 and SMMU_CR0ACK.
pub(crate) mod cr0 {
    pub(crate) const SMMUEN: u32 = 1 << 0;
    /// With PRI only.
    pub(crate) const PRIQEN: u32 = 1 << 1;
    pub(crate) const EVENTQEN: u32 = 1 << 2;
    pub(crate) const CMDQEN: u32 = 1 << 3;
    /// With ATS only.
    pub(crate) const ATSCHK: u32 = 1 << 4;
    /// What is always there. VMW and the rest are RES0 here.
    pub(crate) const IMPLEMENTED: u32 = SMMUEN | EVENTQEN | CMDQEN;
}

/// SMMU_CR1: table attributes above, queue attributes below. Kept for software to read back.
pub(crate) mod cr1 {
    pub(crate) const TABLE: u32 = 0xfc0;
    pub(crate) const QUEUE: u32 = 0x03f;
}

/// SMMU_CR2: PTM is RES0 without BTM.
pub(crate) mod cr2 {
    /// RES0 without HYP.
    pub(crate) const E2H: u32 = 1 << 0;
    pub(crate) const RECINVSID: u32 = 1 << 1;
    /// With ATSRECERR, that is with ATS, only.
    pub(crate) const REC_CFG_ATS: u32 = 1 << 3;
}

/// SMMU_GBPA.
pub(crate) mod gbpa {
    pub(crate) const ABORT: u32 = 1 << 20;
    pub(crate) const UPDATE: u32 = 1 << 31;
    /// PRIVCFG and INSTCFG, RES0 without ATTR_PERMS_OVR. No outcome shows what they do.
    pub(crate) const PERMS: u32 = 0xf << 16;
    /// SHCFG = use incoming. Overrides of types are not implemented, so this is all it can say.
    pub(crate) const SHCFG_INCOMING: u32 = 1 << 12;
}

/// SMMU_IRQ_CTRL and SMMU_IRQ_CTRLACK.
pub(crate) mod irq_ctrl {
    pub(crate) const GERROR: u32 = 1 << 0;
    /// With PRI only.
    pub(crate) const PRIQ: u32 = 1 << 1;
    pub(crate) const EVENTQ: u32 = 1 << 2;
    pub(crate) const IMPLEMENTED: u32 = GERROR | EVENTQ;
}

/// SMMU_GERROR and SMMU_GERRORN.
pub(crate) mod gerror {
    pub(crate) const CMDQ_ERR: u32 = 1 << 0;
    pub(crate) const EVENTQ_ABT_ERR: u32 = 1 << 2;
    /// With PRI only.
    pub(crate) const PRIQ_ABT_ERR: u32 = 1 << 3;
    pub(crate) const MSI_CMDQ_ABT_ERR: u32 = 1 << 4;
    pub(crate) const MSI_EVENTQ_ABT_ERR: u32 = 1 << 5;
    /// With PRI only.
    pub(crate) const MSI_PRIQ_ABT_ERR: u32 = 1 << 6;
    pub(crate) const MSI_GERROR_ABT_ERR: u32 = 1 << 7;
    pub(crate) const IMPLEMENTED: u32 =
        CMDQ_ERR | EVENTQ_ABT_ERR | MSI_CMDQ_ABT_ERR | MSI_EVENTQ_ABT_ERR | MSI_GERROR_ABT_ERR;
}

/// What of each register software's value is kept in.
pub(crate) mod mask {
    pub(crate) const STRTAB_BASE: u64 = 0x400f_ffff_ffff_ffc0;
    pub(crate) const STRTAB_BASE_CFG: u32 = 0x0003_07ff;
    pub(crate) const QUEUE_BASE: u64 = 0x400f_ffff_ffff_ffff;
    pub(crate) const QUEUE_INDEX: u32 = 0x000f_ffff;
    pub(crate) const QUEUE_OVERFLOW: u32 = 1 << 31;
    pub(crate) const CMDQ_CONS_ERR: u32 = 0x7f << 24;
    pub(crate) const IRQ_CFG0: u64 = 0x000f_ffff_ffff_fffc;
    pub(crate) const IRQ_CFG2: u32 = 0x3f;
    /// PRIQ_IRQ_CFG2.LO: the interrupt comes with the last message of a group.
    pub(crate) const IRQ_CFG2_LO: u32 = 1 << 31;
}
