//! Register offsets in BAR2 and what the capability registers say. HiSilicon publishes no manual;
//! the names are those of Linux 6.12: `drivers/crypto/hisilicon/qm.c` and `zip/zip_main.c`.

/// `PCI_VENDOR_ID_HUAWEI`
pub(super) const VENDOR_ID: u16 = 0x19e5;
/// `PCI_DEVICE_ID_HUAWEI_ZIP_PF`
pub(super) const DEVICE_ID: u16 = 0xa250;
/// Processing accelerator; the driver matches by vendor and device id only.
pub(super) const CLASS: u32 = 0x12_00_00;

/// `PCI_BAR_2`: every register. The highest that Linux 6.12 uses is in 0x309000.
pub(super) const REGISTER_BAR: u8 = 2;
pub(super) const REGISTER_BAR_BYTES: u64 = 4 << 20;
/// `PCI_BAR_4`: doorbells, isolated by queue.
pub(super) const DOORBELL_BAR: u8 = 4;
/// `QM_QP_DB_INTERVAL`
pub(super) const DOORBELL_WINDOW_BYTES: u64 = 0x1_0000;
/// `QM_DOORBELL_SQ_CQ_BASE_V2`, in BAR2 or in each queue's window of BAR4.
pub(super) const DOORBELL_SQ_CQ: u64 = 0x1000;
/// `QM_DOORBELL_EQ_AEQ_BASE_V2`
pub(super) const DOORBELL_EQ_AEQ: u64 = 0x2000;

/// log2 of the MSI vectors; the driver asks for four.
pub(super) const MSI_VECTORS_LOG2: u8 = 2;
/// `QM_ABNORMAL_EVENT_IRQ_VECTOR`
pub(super) const VECTOR_ABNORMAL: u8 = 3;
/// The driver keeps a PASID in 16 bits (`qm_sq_ctx_cfg`).
pub(super) const PASID_WIDTH: u8 = 16;

/// `QM_VF_AEQ_INT_MASK`
pub(super) const AEQ_MASK: u32 = 0x4;
/// `QM_VF_EQ_INT_MASK`
pub(super) const EQ_MASK: u32 = 0xc;
/// `QM_CACHE_WB_START`
pub(super) const CACHE_WB_START: u32 = 0x204;
/// `QM_CACHE_WB_DONE`
pub(super) const CACHE_WB_DONE: u32 = 0x208;
/// `QM_MB_CMD_SEND_BASE`
pub(super) const MAILBOX: u64 = 0x300;
pub(super) const MAILBOX_END: u64 = 0x310;

/// `QM_ABNORMAL_INT_SOURCE`; mask, status and set follow.
pub(super) const QM_ERROR_SOURCE: u32 = 0x10_0000;
/// `QM_ABNORMAL_INT_MASK_VALUE`
pub(super) const QM_ERRORS: u32 = 0x7fff;
/// `HZIP_CORE_INT_SOURCE`; mask, set and status follow, in another order than the QM's.
pub(super) const ZIP_ERROR_SOURCE: u32 = 0x30_10a0;
/// `HZIP_CORE_INT_MASK_ALL`
pub(super) const ZIP_ERRORS: u32 = 0x1fff;

/// `QM_MEM_START_INIT`
pub(super) const MEMORY_INIT: u32 = 0x10_0040;
/// `QM_MEM_INIT_DONE`
pub(super) const MEMORY_INIT_DONE: u32 = 0x10_0044;
/// `QM_IDLE_STATUS`
pub(super) const IDLE_STATUS: u32 = 0x10_40e4;

/// `ACC_MASTER_GLOBAL_CTRL`: bit 0 stops the AXI master.
pub(super) const MASTER_CONTROL: u32 = 0x30_0000;
/// `ACC_MASTER_TRANS_RETURN`: 3 when reads and writes have come back.
pub(super) const MASTER_RETURNED: u32 = 0x30_0150;
pub(super) const MASTER_RETURNED_ALL: u32 = 0x3;

/// `HZIP_DATA_RUSER_32_63`, `HZIP_DATA_WUSER_32_63`, `HZIP_SGL_RUSER_32_63`: attributes of data
/// reads, data writes and SGL reads.
pub(super) const DATA_READ_USER: u32 = 0x30_1128;
pub(super) const DATA_WRITE_USER: u32 = 0x30_1134;
pub(super) const SGL_READ_USER: u32 = 0x30_111c;
/// `AXUSER_SSV`: with a PASID.
pub(super) const USER_SSV: u32 = 1;

/// `QM_FUNC_CAPS_REG`
pub(super) const FEATURES: u32 = 0x3100;
/// The version byte: not zero, so that the feature bits count and the tables are read.
pub(super) const FEATURES_VERSION: u32 = 1;
/// `QM_SUPPORT_STOP_QP`, `QM_SUPPORT_STOP_FUNC`
pub(super) const FEATURES_STOP: u32 = 1 << 9 | 1 << 10;

/// Doorbell isolation, bit 0 of `QM_FUNC_CAPS_REG`'s neighbour 0x30 (`qm_get_hw_caps`).
pub(super) const ISOLATION: u32 = 0x30;
/// `QM_CAPBILITY`: queues of the device and of one function.
pub(super) const QUEUE_COUNTS: u32 = 0x10_0158;

/// Registers with a fixed value on revision 0x30: `qm_basic_info` and `zip_basic_cap_info`.
pub(super) const CAPABILITIES_V3: &[(u32, u32)] = &[
    (ISOLATION, 1),
    // EQ 2048 and AEQ 1024 entries, SQ and CQ 1024.
    (0x3104, 0x0400_0800),
    (0x3108, 0x0400_0400),
    // EQ, AEQ, abnormal and PF-VF message interrupts: present, vector; the last is absent.
    (0x310c, 0x0001_0000),
    (0x3110, 0x0001_0001),
    (0x3114, 0x0001_0003),
    (0x3118, 0),
    // Vectors of the physical and of a virtual function.
    (0x311c, 0x0004_0003),
    (0x3120, 0x14),
    // QM: non-fatal, reset and shutdown, correctable errors.
    (0x3124, 0x7c77),
    (0x3128, 0x6c77),
    (0x312c, 0x8),
    // ZIP: the same.
    (0x3130, 0x1ffe),
    (0x3134, 0x7fe),
    (0x3138, 0x1),
    // One cluster of two kinds, five cores: two compress, three decompress; all enabled.
    (0x313c, 0x1205_0203),
    (0x3140, 0x001c_0003),
    // Algorithms for the kernel (deflate) and for user space (zlib, gzip, deflate).
    (0x3144, 0x30),
    (0x3148, 0x3f),
    (0x314c, 0xd5),
    (0x3150, 0xd5),
    (0x3154, 0x2a),
    (0x3158, 0x2a),
    (0x315c, 0x2a),
];

/// Registers that only keep what is written, in order.
pub(super) const STORED: &[u32] = &[
    // QM_IFC_INT_MASK, QM_PAGE_SIZE
    0x24,
    0x34,
    // QM_CACHE_CTL
    0x10_0050,
    // Outstanding limits, QM_DB_TIMEOUT_CFG, FIFO limits.
    0x10_0070,
    0x10_0074,
    0x10_0078,
    // QM_ARUSER_M_CFG_1 to QM_AWUSER_M_CFG_ENABLE, QM_WUSER_M_CFG_ENABLE, AXI cache.
    0x10_0084,
    0x10_0088,
    0x10_0090,
    0x10_0094,
    0x10_0098,
    0x10_00a0,
    0x10_00a8,
    0x10_00ac,
    0x10_00b0,
    0x10_00cc,
    0x10_00d0,
    // QM_PEH_VENDOR_ID: V2 tests a soft reset by reading back what it wrote.
    0x10_00d8,
    // QM_RAS_CE_ENABLE, FE, NFE, CE_THRESHOLD
    0x10_00ec,
    0x10_00f0,
    0x10_00f4,
    0x10_00f8,
    // QM_DFX_CNT_CLR_CE
    0x10_0118,
    // QM_IFC_INT_CFG, QM_PM_CTRL, QM_SHAPER_CFG
    0x10_0134,
    0x10_0148,
    0x10_0164,
    // QM_OOO_SHUTDOWN_SEL
    0x10_40f8,
    // AM_CFG_SINGLE_PORT_MAX_TRANS, AM_CFG_PORT_RD_EN and their neighbours.
    0x30_0014,
    0x30_001c,
    0x30_0100,
    // HZIP_SOFT_CTRL_CNT_CLR_CE, CLOCK_GATE_CTRL, FSM_MAX_CNT, SOFT_CTRL_ZIP_CONTROL
    0x30_1000,
    0x30_1004,
    0x30_1008,
    0x30_100c,
    // HZIP_PORT_ARCA_CHE_0/1, AWCA_CHE_0/1
    0x30_1040,
    0x30_1044,
    0x30_1060,
    0x30_1064,
    // HZIP_BD_RUSER_32_63, SGL_RUSER, DATA_RUSER, DATA_WUSER, BD_WUSER
    0x30_1110,
    SGL_READ_USER,
    DATA_READ_USER,
    DATA_WRITE_USER,
    0x30_1140,
    // HZIP_CORE_INT_RAS_CE_ENB, NFE, FE
    0x30_1160,
    0x30_1164,
    0x30_1168,
    // HZIP_PEH_CFG_AUTO_GATE. HZIP_PREFETCH_CFG (and HZIP_SVA_TRANS, which reads 0: nothing is
    // ever on its way) belong to a feature that is off.
    0x30_11a8,
    0x30_11b0,
    // HZIP_LIT_LEN_EN, HZIP_HIGH_PERF, OOO_SHUTDOWN_SEL
    0x30_1204,
    0x30_1208,
    0x30_120c,
];
