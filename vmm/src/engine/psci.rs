//! Power State Coordination Interface (Arm DEN 0022): what HVC and SMC ask of the machine.

/// A vCPU that is to be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuOn {
    /// Its number.
    pub cpu: usize,
    /// Where it starts.
    pub entry: u64,
    /// What it finds in X0.
    pub context: u64,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
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

/// SUCCESS.
pub const SUCCESS: u64 = 0;
/// NOT_SUPPORTED.
pub const NOT_SUPPORTED: u64 = -1_i64 as u64;
/// INVALID_PARAMETERS.
pub const INVALID_PARAMETERS: u64 = -2_i64 as u64;
/// ALREADY_ON.
pub const ALREADY_ON: u64 = -4_i64 as u64;
/// AFFINITY_INFO: the CPU is on.
pub const AFFINITY_ON: u64 = 0;
/// AFFINITY_INFO: the CPU is off.
pub const AFFINITY_OFF: u64 = 1;

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

const IMPLEMENTED: [u32; 8] = [
    PSCI_VERSION,
    CPU_OFF,
    CPU_ON,
    AFFINITY_INFO,
    MIGRATE_INFO_TYPE,
    SYSTEM_OFF,
    SYSTEM_RESET,
    PSCI_FEATURES,
];

/// Reads a call from X0 to X3, on a machine with `cpus` vCPUs.
pub fn parse(x: [u64; 4], cpus: usize) -> Call {
    // vCPU n is affinity 0.0.0.n.
    let target = |mpidr: u64| usize::try_from(mpidr).ok().filter(|&cpu| cpu < cpus);
    match x[0] as u32 {
        PSCI_VERSION => Call::Return(VERSION_1_1),
        CPU_OFF => Call::CpuOff,
        CPU_ON => match target(x[1]) {
            Some(cpu) => Call::CpuOn(CpuOn {
                cpu,
                entry: x[2],
                context: x[3],
            }),
            None => Call::Return(INVALID_PARAMETERS),
        },
        AFFINITY_INFO => match target(x[1]) {
            Some(cpu) if x[2] == 0 => Call::AffinityInfo(cpu),
            _ => Call::Return(INVALID_PARAMETERS),
        },
        MIGRATE_INFO_TYPE => Call::Return(NO_TRUSTED_OS),
        SYSTEM_OFF => Call::SystemOff,
        SYSTEM_RESET => Call::SystemReset,
        PSCI_FEATURES if IMPLEMENTED.contains(&(x[1] as u32)) => Call::Return(SUCCESS),
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
    }
}
