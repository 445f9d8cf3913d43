//! What HVC and SMC ask of the machine, which plays firmware: the Power State Coordination
//! Interface (Arm DEN 0022) and the architecture calls of the SMC Calling Convention (Arm DEN 0028,
//! *Arm Architecture Calls*).

/// A vCPU that is to be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuOn {
    /// Its number.
    pub cpu: usize,
    /// Where it starts.
    pub entry: u64,
    /// What it finds in X0.
    pub context: u64,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Return this in X0.
    Return(u64),
    /// CPU_ON: switch a vCPU on if it is off.
    CpuOn(CpuOn),
    /// CPU_OFF of the caller.
    CpuOff,
    /// AFFINITY_INFO of this vCPU.
    AffinityInfo(usize),
    /// SYSTEM_OFF.
    SystemOff,
    /// SYSTEM_RESET.
    SystemReset,
}

/// SUCCESS; SMCCC_ARCH_FEATURES says by it that a call is there.
pub(super) const SUCCESS: u64 = 0;
/// NOT_SUPPORTED.
pub(super) const NOT_SUPPORTED: u64 = -1_i64 as u64;
/// INVALID_PARAMETERS.
pub(super) const INVALID_PARAMETERS: u64 = -2_i64 as u64;
/// ALREADY_ON.
pub(super) const ALREADY_ON: u64 = -4_i64 as u64;
/// AFFINITY_INFO: the CPU is on.
pub(super) const AFFINITY_ON: u64 = 0;
/// AFFINITY_INFO: the CPU is off.
pub(super) const AFFINITY_OFF: u64 = 1;

/// PSCI 1.1, and SMCCC 1.1.
const VERSION_1_1: u64 = 0x0001_0001;
/// MIGRATE_INFO_TYPE: there is no Trusted OS that could migrate.
const NO_TRUSTED_OS: u64 = 2;

const PSCI_VERSION: u32 = 0x8400_0000;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0xc400_0003;
const AFFINITY_INFO: u32 = 0xc400_0004;
const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;
const PSCI_FEATURES: u32 = 0x8400_000a;

/// CPU_ON and AFFINITY_INFO with arguments of 32 bits, which a caller in AArch64 may use too.
const CPU_ON_32: u32 = 0x8400_0003;
const AFFINITY_INFO_32: u32 = 0x8400_0004;

const SMCCC_VERSION: u32 = 0x8000_0000;
const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
/// Branch target injection (CVE-2017-5715).
const SMCCC_ARCH_WORKAROUND_1: u32 = 0x8000_8000;
/// Speculative store bypass (CVE-2018-3639).
const SMCCC_ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
/// Branch history injection (CVE-2022-23960).
const SMCCC_ARCH_WORKAROUND_3: u32 = 0x8000_3fff;
/// What SMCCC_ARCH_FEATURES says of WORKAROUND_1 and 3 where no CPU needs them. They can be called.
const UNAFFECTED: u64 = 1;
/// NOT_REQUIRED, which it says of WORKAROUND_2. That is not to be called then.
const NOT_REQUIRED: u64 = -2_i64 as u64;

/// What PSCI_FEATURES knows. SMCCC_VERSION is how software finds SMCCC 1.1 and later.
const IMPLEMENTED: [u32; 11] = [
    PSCI_VERSION,
    CPU_OFF,
    CPU_ON_32,
    CPU_ON,
    AFFINITY_INFO_32,
    AFFINITY_INFO,
    MIGRATE_INFO_TYPE,
    SYSTEM_OFF,
    SYSTEM_RESET,
    PSCI_FEATURES,
    SMCCC_VERSION,
];

/// SMCCC_ARCH_FEATURES.
fn arch_feature(function: u32) -> u64 {
    match function {
        SMCCC_VERSION | SMCCC_ARCH_FEATURES => SUCCESS,
        // The CPU executes one instruction after the other: there is nothing to work around.
        SMCCC_ARCH_WORKAROUND_1 | SMCCC_ARCH_WORKAROUND_3 => UNAFFECTED,
        SMCCC_ARCH_WORKAROUND_2 => NOT_REQUIRED,
        _ => NOT_SUPPORTED,
    }
}

/// Reads a call from X0 to X3, on a machine with `cpus` vCPUs.
pub(super) fn parse(x: [u64; 4], cpus: usize) -> Call {
    // vCPU n is affinity 0.0.0.n.
    let target = |mpidr: u64| usize::try_from(mpidr).ok().filter(|&cpu| cpu < cpus);
    let function = x[0] as u32;
    // The fast calls with 32-bit arguments use W registers.
    let x = match function {
        CPU_ON_32 | AFFINITY_INFO_32 => x.map(|x| u64::from(x as u32)),
        _ => x,
    };
    match function {
        PSCI_VERSION => Call::Return(VERSION_1_1),
        CPU_OFF => Call::CpuOff,
        CPU_ON_32 | CPU_ON => match target(x[1]) {
            Some(cpu) => Call::CpuOn(CpuOn {
                cpu,
                entry: x[2],
                context: x[3],
            }),
            None => Call::Return(INVALID_PARAMETERS),
        },
        AFFINITY_INFO_32 | AFFINITY_INFO => match target(x[1]) {
            Some(cpu) if x[2] == 0 => Call::AffinityInfo(cpu),
            _ => Call::Return(INVALID_PARAMETERS),
        },
        MIGRATE_INFO_TYPE => Call::Return(NO_TRUSTED_OS),
        SYSTEM_OFF => Call::SystemOff,
        SYSTEM_RESET => Call::SystemReset,
        PSCI_FEATURES if IMPLEMENTED.contains(&(x[1] as u32)) => Call::Return(SUCCESS),
        SMCCC_VERSION => Call::Return(VERSION_1_1),
        SMCCC_ARCH_FEATURES => Call::Return(arch_feature(x[1] as u32)),
        SMCCC_ARCH_WORKAROUND_1 | SMCCC_ARCH_WORKAROUND_3 => Call::Return(SUCCESS),
        _ => Call::Return(NOT_SUPPORTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Function numbers from Linux, include/uapi/linux/psci.h.
    #[test]
    fn calls_are_those_of_the_specification() {
        let cpu_on = CpuOn {
            cpu: 1,
            entry: 0x4020_0000,
            context: 7,
        };
        assert_eq!(
            parse([0xc400_0003, 1, 0x4020_0000, 7], 2),
            Call::CpuOn(cpu_on)
        );
        assert_eq!(
            parse([0xc400_0003, 2, 0, 0], 2),
            Call::Return(-2_i64 as u64)
        );
        assert_eq!(parse([0x8400_0008, 0, 0, 0], 1), Call::SystemOff);
        assert_eq!(parse([0x8400_000a, 0x8400_0009, 0, 0], 1), Call::Return(0));
        // CPU_SUSPEND is not there: Linux then idles with WFI.
        assert_eq!(
            parse([0x8400_000a, 0xc400_0001, 0, 0], 1),
            Call::Return(-1_i64 as u64)
        );
        // The 32-bit forms look at the lower halves.
        assert_eq!(
            parse([0x8400_0003, 5 << 32 | 1, 0x4020_0000, 7], 2),
            Call::CpuOn(cpu_on)
        );
        assert_eq!(parse([0x8400_0004, 1, 0, 0], 2), Call::AffinityInfo(1));
    }

    // Function numbers and answers from Linux, include/linux/arm-smccc.h; what it makes of them is in
    // arch/arm64/kernel/proton-pack.c.
    #[test]
    fn no_workaround_is_required() {
        let returns = |x| match parse(x, 1) {
            Call::Return(value) => value as i64,
            call => panic!("{call:?}"),
        };
        let feature = |function| returns([0x8000_0001, function, 0, 0]);
        assert_eq!(returns([0x8400_000a, 0x8000_0000, 0, 0]), 0);
        assert_eq!(returns([0x8000_0000, 0, 0, 0]), 0x1_0001);
        assert_eq!((feature(0x8000_0000), feature(0x8000_0001)), (0, 0));
        // SMCCC_ARCH_WORKAROUND_RET_UNAFFECTED, SMCCC_RET_NOT_REQUIRED.
        assert_eq!(feature(0x8000_8000), 1);
        assert_eq!(feature(0x8000_7fff), -2);
        assert_eq!(feature(0x8000_3fff), 1);
        assert_eq!(returns([0x8000_8000, 0, 0, 0]), 0);
        assert_eq!(returns([0x8000_3fff, 0, 0, 0]), 0);
        // SMCCC_ARCH_SOC_ID is not there.
        assert_eq!(feature(0x8000_0002), -1);
        assert_eq!(returns([0x8000_0002, 0, 0, 0]), -1);
    }
}
