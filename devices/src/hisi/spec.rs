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

/// `QM_VF_AEQ_INT_SOURCE`, `QM_VF_AEQ_INT_MASK`
pub(super) const AEQ_SOURCE: u32 = 0x0;
pub(super) const AEQ_MASK: u32 = 0x4;
/// `QM_VF_EQ_INT_SOURCE`, `QM_VF_EQ_INT_MASK`: Linux 6.1 takes an interrupt for its own only if the
/// source is not 0 (`do_qm_irq`, `qm_aeq_irq`).
pub(super) const EQ_SOURCE: u32 = 0x8;
pub(super) const EQ_MASK: u32 = 0xc;
/// `QM_DFX_FUNS_ACTIVE_ST`
pub(super) const FUNCTIONS_ACTIVE: u32 = 0x200;
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
/// Bits of it (`qm_hw_error`): AXI response errors of a read and of a write, ECC errors.
pub(super) const QM_AXI_READ_ERROR: u32 = 1 << 0;
pub(super) const QM_AXI_WRITE_ERROR: u32 = 1 << 1;
pub(super) const QM_ECC_MANY_BITS: u32 = 1 << 2;
pub(super) const QM_ECC_ONE_BIT: u32 = 1 << 3;
/// `HZIP_CORE_INT_SOURCE`; mask, set and status follow, in another order than the QM's.
pub(super) const ZIP_ERROR_SOURCE: u32 = 0x30_10a0;
/// Bits of it (`zip_hw_error`): `zip_axi_rresp_err` and `zip_axi_bresp_err`.
pub(super) const ZIP_AXI_ERRORS: u32 = 1 << 2 | 1 << 3;
/// `HZIP_CORE_INT_MASK_ALL`
pub(super) const ZIP_ERRORS: u32 = 0x1fff;

/// `QM_DFX_CNT_CLR_CE`: bit 0 lets a read of a counter of the queue manager clear it.
pub(super) const QM_COUNTERS_CLEAR: u32 = 0x10_0118;
/// `HZIP_SOFT_CTRL_CNT_CLR_CE`: bit 0 does so for the counters of the cores.
pub(super) const ZIP_COUNTERS_CLEAR: u32 = 0x30_1000;
/// `HZIP_CNT_CLR_CE_EN`, and the bit of the other.
pub(super) const COUNTERS_CLEAR: u32 = 1;

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

/// `QM_AM_ALARM_RRESP`, `QM_AM_ALARM_BRESP`: a read, or a write, was answered with an error.
pub(super) const ALARM_READ: u32 = 0x30_0180;
pub(super) const ALARM_WRITE: u32 = 0x30_0184;

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
/// `QM_SUPPORT_STOP_QP`
pub(super) const FEATURE_STOP_QP: u32 = 1 << 9;
/// `QM_SUPPORT_STOP_FUNC`
pub(super) const FEATURE_FLUSH_QM: u32 = 1 << 10;

/// Doorbell isolation, bit 0 of `QM_FUNC_CAPS_REG`'s neighbour 0x30 (`qm_get_hw_caps`).
pub(super) const ISOLATION: u32 = 0x30;
/// `QM_CAPBILITY`: queues of the device and of one function.
pub(super) const QUEUE_COUNTS: u32 = 0x10_0158;

/// Registers with a fixed value on revision 0x30, with their names there: `qm_basic_info`,
/// `qm_cap_info_comm` and `zip_basic_cap_info`. Two more depend on the configuration: [`FEATURES`] and
/// [`QUEUE_COUNTS`].
pub(super) const CAPABILITIES_V3: &[(u32, &str, u32)] = &[
    // Each queue has a doorbell window of its own.
    (ISOLATION, "QM_SUPPORT_DB_ISOLATION", 1),
    // EQ 2048 and AEQ 1024 entries, SQ and CQ 1024.
    (0x3104, "QM_XEQ_DEPTH_CAP", 0x0400_0800),
    (0x3108, "QM_QP_DEPTH_CAP", 0x0400_0400),
    // EQ, AEQ, abnormal and PF-VF message interrupts: present, vector; the last is absent.
    (0x310c, "QM_EQ_IRQ_TYPE_CAP", 0x0001_0000),
    (0x3110, "QM_AEQ_IRQ_TYPE_CAP", 0x0001_0001),
    (0x3114, "QM_ABN_IRQ_TYPE_CAP", 0x0001_0003),
    (0x3118, "QM_PF2VF_IRQ_TYPE_CAP", 0),
    // Vectors of the physical and of a virtual function.
    (0x311c, "QM_PF_IRQ_NUM_CAP", 0x0004_0003),
    (0x3120, "EXT_BAR_INDEX", 0x14),
    // QM: non-fatal, reset and shutdown, correctable errors.
    (0x3124, "ZIP_QM_NFE_MASK_CAP", 0x7c77),
    (0x3128, "ZIP_QM_RESET_MASK_CAP", 0x6c77),
    (0x312c, "ZIP_QM_CE_MASK_CAP", 0x8),
    // ZIP: the same.
    (0x3130, "ZIP_NFE_MASK_CAP", 0x1ffe),
    (0x3134, "ZIP_RESET_MASK_CAP", 0x7fe),
    (0x3138, "ZIP_CE_MASK_CAP", 0x1),
    // One cluster of two kinds, five cores: two compress, three decompress; all enabled.
    (0x313c, "ZIP_CORE_NUM_CAP", 0x1205_0203),
    (0x3140, "ZIP_DECOMP_ENABLE_BITMAP", 0x001c_0003),
    // Algorithms for the kernel (deflate) and for user space (zlib, gzip, deflate).
    (0x3144, "ZIP_DRV_ALG_BITMAP", 0x30),
    (0x3148, "ZIP_DEV_ALG_BITMAP", 0x3f),
    (0x314c, "ZIP_CORE1_ALG_BITMAP", 0xd5),
    (0x3150, "ZIP_CORE2_ALG_BITMAP", 0xd5),
    (0x3154, "ZIP_CORE3_ALG_BITMAP", 0x2a),
    (0x3158, "ZIP_CORE4_ALG_BITMAP", 0x2a),
    (0x315c, "ZIP_CORE5_ALG_BITMAP", 0x2a),
];

/// What a register that both revisions have does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Keeps what is written, and nothing else.
    Kept,
    /// Reads as zero and ignores writes: it belongs to what this device does not have, or to states of
    /// the hardware that the model does not go through.
    Zero,
    /// Does something.
    Live,
}
use Role::{Kept, Live, Zero};

/// Every register of BAR2 that both revisions have, with the kernel's name, in order; cores' counters
/// apart. `docs/hisi-registers.md` has the same table with who touches what.
pub(super) const REGISTERS: &[(u32, &str, Role)] = &[
    (0x0, "QM_VF_AEQ_INT_SOURCE", Live),
    (0x4, "QM_VF_AEQ_INT_MASK", Live),
    (0x8, "QM_VF_EQ_INT_SOURCE", Live),
    (0xc, "QM_VF_EQ_INT_MASK", Live),
    (0x20, "QM_IFC_INT_SOURCE_V", Zero),
    (0x24, "QM_IFC_INT_MASK", Kept),
    (0x28, "QM_IFC_INT_STATUS", Zero),
    (0x2c, "QM_IFC_INT_SET_V", Zero),
    (0x34, "QM_PAGE_SIZE", Kept),
    (0x60, "QM_VF_STATE", Kept),
    (0x200, "QM_DFX_FUNS_ACTIVE_ST", Live),
    (0x204, "QM_CACHE_WB_START", Live),
    (0x208, "QM_CACHE_WB_DONE", Live),
    (0x210, "QM_SUB_VERSION_ID", Zero),
    (0x10_0000, "QM_ABNORMAL_INT_SOURCE", Live),
    (0x10_0004, "QM_ABNORMAL_INT_MASK", Live),
    (0x10_0008, "QM_ABNORMAL_INT_STATUS", Live),
    (0x10_000c, "QM_ABNORMAL_INT_SET", Live),
    (0x10_0010, "QM_ABNORMAL_INF00", Zero),
    (0x10_0014, "QM_ABNORMAL_INF01", Zero),
    (0x10_0018, "QM_ABNORMAL_INF02", Zero),
    (0x10_0040, "QM_MEM_START_INIT", Live),
    (0x10_0044, "QM_MEM_INIT_DONE", Live),
    (0x10_0050, "QM_CACHE_CTL", Kept),
    (0x10_0054, "QM_VFT_CFG_OP_ENABLE", Live),
    (0x10_0058, "QM_VFT_CFG_OP_WR", Live),
    (0x10_005c, "QM_VFT_CFG_TYPE", Live),
    (0x10_0060, "QM_VFT_CFG", Live),
    (0x10_0064, "QM_VFT_CFG_DATA_L", Live),
    (0x10_0068, "QM_VFT_CFG_DATA_H", Live),
    (0x10_006c, "QM_VFT_CFG_RDY", Live),
    (0x10_0070, "QM_TIMEOUT_CFG", Kept),
    (0x10_0074, "QM_DB_TIMEOUT_CFG", Kept),
    (0x10_0078, "QM_FLR_PENDING_TIME_CFG", Kept),
    (0x10_0088, "QM_ARUSER_M_CFG_1", Kept),
    (0x10_0090, "QM_ARUSER_M_CFG_ENABLE", Kept),
    (0x10_0098, "QM_AWUSER_M_CFG_1", Kept),
    (0x10_00a0, "QM_AWUSER_M_CFG_ENABLE", Kept),
    (0x10_00a8, "QM_WUSER_M_CFG_ENABLE", Kept),
    (0x10_00ac, "QM_AXI_M_CFG", Kept),
    (0x10_00b0, "QM_AXI_M_CFG_ENABLE", Kept),
    (0x10_00cc, "QM_PEH_AXUSER_CFG", Kept),
    (0x10_00d0, "QM_PEH_AXUSER_CFG_ENABLE", Kept),
    (0x10_00d8, "QM_PEH_VENDOR_ID", Kept),
    (0x10_00ec, "QM_RAS_CE_ENABLE", Kept),
    (0x10_00f0, "QM_RAS_FE_ENABLE", Kept),
    (0x10_00f4, "QM_RAS_NFE_ENABLE", Kept),
    (0x10_00f8, "QM_RAS_CE_THRESHOLD", Kept),
    (0x10_00fc, "QM_PEH_DFX_INFO0", Zero),
    (0x10_0100, "QM_PEH_DFX_INFO1", Zero),
    (0x10_0118, "QM_DFX_CNT_CLR_CE", Kept),
    (0x10_0120, "QM_AXI_TIMEOUT_CTRL", Zero),
    (0x10_0124, "QM_AXI_TIMEOUT_STATUS", Zero),
    (0x10_0128, "QM_IFC_READY_STATUS", Zero),
    (0x10_012c, "QM_IFC_C_STS_M", Zero),
    (0x10_0130, "QM_IFC_INT_SET_P", Zero),
    (0x10_0134, "QM_IFC_INT_CFG", Kept),
    (0x10_0138, "QM_IFC_INT_SOURCE_P", Zero),
    (0x10_013c, "QM_IFC_INT_SOURCE_P", Zero),
    (0x10_0144, "QM_CQE_AGGR_TIMEOUT_CTRL", Zero),
    (0x10_0148, "QM_PM_CTRL", Kept),
    (0x10_0164, "QM_SHAPER_CFG", Kept),
    (0x10_4000, "QM_ECC_1BIT_CNT", Live),
    (0x10_4004, "QM_ECC_1BIT_INF", Zero),
    (0x10_4008, "QM_ECC_MBIT_CNT", Live),
    (0x10_400c, "QM_ECC_MBIT_INF", Zero),
    (0x10_4010, "QM_DFX_MB_CNT_VF", Kept),
    (0x10_4018, "QM_DFX_MB_CNT", Live),
    (0x10_4020, "QM_DFX_DB_CNT_VF", Kept),
    (0x10_4028, "QM_DFX_DB_CNT", Live),
    (0x10_4030, "QM_DFX_SQE_CNT_VF_SQN", Kept),
    (0x10_4038, "QM_DFX_SQE_CNT", Live),
    (0x10_4040, "QM_DFX_CQE_CNT_VF_CQN", Kept),
    (0x10_4048, "QM_DFX_CQE_CNT", Live),
    (0x10_4050, "QM_DFX_SEND_SQE_TO_ACC_CNT", Live),
    (0x10_4058, "QM_DFX_WB_SQE_FROM_ACC_CNT", Live),
    (0x10_4060, "QM_DFX_ACC_FINISH_CNT", Live),
    (0x10_40a0, "QM_DFX_ACC_RDY_VLD0", Zero),
    (0x10_40a4, "QM_DFX_ACC_RDY_VLD1", Zero),
    (0x10_40a8, "QM_DFX_AXI_RDY_VLD", Zero),
    (0x10_40b4, "QM_DFX_CQE_ERR_CNT", Live),
    (0x10_40c8, "QM_DFX_FF_ST0", Zero),
    (0x10_40cc, "QM_DFX_FF_ST1", Zero),
    (0x10_40d0, "QM_DFX_FF_ST2", Zero),
    (0x10_40d4, "QM_DFX_FF_ST3", Zero),
    (0x10_40d8, "QM_DFX_FF_ST4", Zero),
    (0x10_40dc, "QM_DFX_FF_ST5", Zero),
    (0x10_40e0, "QM_DFX_FF_ST6", Zero),
    (0x10_40e4, "QM_IN_IDLE_ST", Live),
    (0x10_40f8, "QM_OOO_SHUTDOWN_SEL", Kept),
    (0x10_40fc, "ACC_RAS_MSI_INT_SEL", Zero),
    (0x10_4100, "QM_CQE_OUT", Zero),
    (0x10_4104, "QM_EQE_OUT", Zero),
    (0x10_4108, "QM_AEQE_OUT", Zero),
    (0x10_4180, "QM_DB_INFO0", Zero),
    (0x10_4184, "QM_DB_INFO1", Zero),
    (0x30_0000, "ACC_MASTER_GLOBAL_CTRL", Live),
    (0x30_0014, "AM_CFG_SINGLE_PORT_MAX_TRANS", Kept),
    (0x30_001c, "ACC_AM_CFG_PORT_WR_EN", Kept),
    (0x30_0100, "QM_AM_CURR_PORT_STS", Zero),
    (0x30_0104, "ACC_AM_ROB_ECC_INT_STS", Zero),
    (0x30_0150, "ACC_MASTER_TRANS_RETURN", Live),
    (0x30_0154, "QM_AM_CURR_RD_MAX_TXID", Zero),
    (0x30_0158, "QM_AM_CURR_WR_MAX_TXID", Zero),
    (0x30_0180, "QM_AM_ALARM_RRESP", Live),
    (0x30_0184, "QM_AM_ALARM_BRESP", Live),
    (0x30_1000, "HZIP_SOFT_CTRL_CNT_CLR_CE", Kept),
    (0x30_1004, "HZIP_CLOCK_GATE_CTRL", Kept),
    (0x30_1008, "HZIP_FSM_MAX_CNT", Kept),
    (0x30_100c, "HZIP_SOFT_CTRL_ZIP_CONTROL", Kept),
    (0x30_1040, "HZIP_PORT_ARCA_CHE_0", Kept),
    (0x30_1044, "HZIP_PORT_ARCA_CHE_1", Kept),
    (0x30_1060, "HZIP_PORT_AWCA_CHE_0", Kept),
    (0x30_1064, "HZIP_PORT_AWCA_CHE_1", Kept),
    (0x30_10a0, "HZIP_CORE_INT_SOURCE", Live),
    (0x30_10a4, "HZIP_CORE_INT_MASK_REG", Live),
    (0x30_10a8, "HZIP_CORE_INT_SET", Live),
    (0x30_10ac, "HZIP_CORE_INT_STATUS", Live),
    (0x30_1110, "HZIP_BD_RUSER_32_63", Kept),
    (0x30_111c, "HZIP_SGL_RUSER_32_63", Kept),
    (0x30_1128, "HZIP_DATA_RUSER_32_63", Kept),
    (0x30_1134, "HZIP_DATA_WUSER_32_63", Kept),
    (0x30_1140, "HZIP_BD_WUSER_32_63", Kept),
    (0x30_1148, "HZIP_CORE_SRAM_ECC_ERR_INFO", Zero),
    (0x30_1160, "HZIP_CORE_INT_RAS_CE_ENB", Kept),
    (0x30_1164, "HZIP_CORE_INT_RAS_NFE_ENB", Kept),
    (0x30_1168, "HZIP_CORE_INT_RAS_FE_ENB", Kept),
    (0x30_116c, "HZIP_UNCOM_ERR_RAS_CTRL", Zero),
    (0x30_11a8, "HZIP_PEH_CFG_AUTO_GATE", Kept),
    (0x30_11b0, "HZIP_PREFETCH_CFG", Kept),
    (0x30_11c4, "HZIP_SVA_TRANS", Zero),
    (0x30_1204, "HZIP_LIT_LEN_EN_OFFSET", Kept),
    (0x30_1208, "HZIP_HIGH_PERF_OFFSET", Kept),
    (0x30_120c, "HZIP_OOO_SHUTDOWN_SEL", Kept),
];

/// What the driver copies as a whole when it starts, and again for debugfs, named or not: first
/// register and bytes. `qm_diff_regs` in debugfs.c, `hzip_diff_regs` in zip_main.c.
pub(super) const DUMPED: &[(u32, u32)] = &[
    (0x0, 0xc3 * 4),
    (0x10_0000, 0x5a * 4),
    (0x10_4000, 0x2e * 4),
    (0x10_40c8, 0x11 * 4),
    (0x30_1000, 0xb0 * 4),
    (0x30_2000, 0x28 * 4),
    (0x30_3000, 0x28 * 4),
    (0x30_4000, 0x28 * 4),
    (0x30_5000, 0x28 * 4),
    (0x30_6000, 0x28 * 4),
    (0x30_7000, 0x28 * 4),
    (0x30_8000, 0x28 * 4),
    (0x30_9000, 0x28 * 4),
];

/// `HZIP_CORE_DFX_COMP_0`: the registers of the first core that compresses; the second follows.
pub(super) const COMPRESS_CORES: u32 = 0x30_2000;
/// `HZIP_CORE_DFX_DECOMP_0`: of the first that decompresses; the others follow.
pub(super) const DECOMPRESS_CORES: u32 = 0x30_4000;
/// `HZIP_CORE_ADDR_INTRVL`
pub(super) const CORE_BYTES: u32 = 0x1000;
/// Beyond the last core's (`HZIP_CORE_DFX_DECOMP_5`).
pub(super) const CORES_END: u32 = 0x30_a000;

/// Offsets in a core's registers (`hzip_dfx_regs`).
pub(super) const CORE_REGISTERS: &[(u32, &str, Role)] = &[
    (0x00, "HZIP_GET_BD_NUM", Live),
    (0x04, "HZIP_GET_RIGHT_BD", Live),
    (0x08, "HZIP_GET_ERROR_BD", Live),
    (0x0c, "HZIP_DONE_BD_NUM", Live),
    (0x10, "HZIP_WORK_CYCLE", Live),
    (0x14, "HZIP_WORK_CYCLE", Live),
    (0x18, "HZIP_IDLE_CYCLE", Live),
    (0x1c, "HZIP_IDLE_CYCLE", Live),
    (0x20, "HZIP_MAX_DELAY", Live),
    (0x24, "HZIP_MIN_DELAY", Live),
    (0x28, "HZIP_AVG_DELAY", Live),
    (0x30, "HZIP_MEM_VISIBLE_DATA", Zero),
    (0x34, "HZIP_MEM_VISIBLE_ADDR", Zero),
    (0x38, "HZIP_CONSUMED_BYTE", Live),
    (0x3c, "HZIP_CONSUMED_BYTE", Live),
    (0x40, "HZIP_PRODUCED_BYTE", Live),
    (0x44, "HZIP_PRODUCED_BYTE", Live),
    (0x70, "HZIP_COMP_INF", Zero),
    (0x78, "HZIP_PRE_OUT", Zero),
    (0x7c, "HZIP_BD_RD", Zero),
    (0x80, "HZIP_BD_WR", Zero),
    (0x84, "HZIP_GET_BD_AXI_ERR_NUM", Live),
    (0x88, "HZIP_GET_BD_PARSE_ERR_NUM", Live),
    (0x8c, "HZIP_ADD_BD_AXI_ERR_NUM", Zero),
    (0x94, "HZIP_DECOMP_STF_RELOAD_CURR_ST", Zero),
    (0x9c, "HZIP_DECOMP_LZ77_CURR_ST", Zero),
];

/// Cores that the driver's addresses have room for: `HZIP_CORE_DFX_COMP_0` and `_1`, and
/// `HZIP_CORE_DFX_DECOMP_0` to `_5`.
pub(super) const COMPRESS_CORES_MAX: u32 = 2;
pub(super) const DECOMPRESS_CORES_MAX: u32 = 6;

/// The registers that tell revision 0x30's cores: one cluster of two kinds (`ZIP_CLUSTER_NUM_CAP` to
/// `ZIP_CLUSTER_DECOMP_NUM_CAP`), all enabled, and what each of the first five can do
/// (`ZIP_CORE1_ALG_BITMAP` and on).
pub(super) fn core_capabilities(compress: u32, decompress: u32) -> Vec<(u32, u32)> {
    let ones = |count: u32| (1 << count) - 1;
    let mut registers = vec![
        (
            0x313c,
            0x1200_0000 | (compress + decompress) << 16 | compress << 8 | decompress,
        ),
        (0x3140, ones(decompress) << (16 + compress) | ones(compress)),
    ];
    registers.extend((0..5).map(|core| {
        let algorithms = match core {
            _ if core < compress => 0xd5,
            _ if core < compress + decompress => 0x2a,
            _ => 0,
        };
        (0x314c + 4 * core, algorithms)
    }));
    registers
}
