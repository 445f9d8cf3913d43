//! The system calls of each kind of thread, on x86-64 and arm64, with glibc.
//!
//! A call is listed because something here makes it. Where a call does much, its arguments are
//! listed, too: no memory becomes executable, signals go to this process only, `ioctl` has
//! the requests that are used.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::Role;

/// Rules by the call's number; no rules: whatever its arguments are.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// KVM's ioctls (Linux, `include/uapi/linux/kvm.h`): `_IO(0xae, ...)` and the like with the sizes of
/// arm64's structures.
mod kvm {
    /// KVM_RUN.
    pub(super) const RUN: u64 = 0xae80;
    /// KVM_GET_ONE_REG.
    pub(super) const GET_ONE_REG: u64 = 0x4010_aeab;
    /// KVM_SET_ONE_REG.
    pub(super) const SET_ONE_REG: u64 = 0x4010_aeac;
    /// KVM_GET_VCPU_EVENTS, of arm64.
    pub(super) const GET_VCPU_EVENTS: u64 = 0x8040_ae9f;
    /// KVM_SET_VCPU_EVENTS, of arm64.
    pub(super) const SET_VCPU_EVENTS: u64 = 0x4040_aea0;
    /// KVM_IRQ_LINE.
    pub(super) const IRQ_LINE: u64 = 0x4008_ae61;
    /// KVM_SIGNAL_MSI.
    pub(super) const SIGNAL_MSI: u64 = 0x4020_aea5;
}

/// Memory, locks, the thread's own signals and its end: every thread of a Rust program.
const ALWAYS: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    // The C library gives memory back with it.
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_close,
    // The vDSO's fallback, where the host's clock source needs it.
    libc::SYS_clock_gettime,
    // Keys of hash maps.
    libc::SYS_getrandom,
    // Messages, the console, the trace, the summary; eventfds, the terminal.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Waiting for a time.
const SLEEP: &[i64] = &[libc::SYS_nanosleep, libc::SYS_clock_nanosleep];

/// What owns the world does besides: files that are open, and waiting.
const WORLD: &[i64] = &[
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Waiting for several things at once, with epoll and a timer.
const DEVICES: &[i64] = &[
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
];

/// Calls that open files or ask about them by name.
const BY_NAME: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_getcwd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
];

/// Calls that make threads and processes. The C library blocks all signals around them, so that
/// nobody could say why the process ended.
const OFFSPRING: &[i64] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// Children, each of which gets a thread of its own and confines itself further.
const CHILDREN: &[i64] = &[
    libc::SYS_waitid,
    libc::SYS_wait4,
    libc::SYS_pidfd_open,
    // To children alone, as long as Landlock knows scopes.
    libc::SYS_pidfd_send_signal,
    libc::SYS_getppid,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_dup3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    libc::SYS_prlimit64,
    libc::SYS_seccomp,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
];

/// Requests of `ioctl` on the terminal.
const TERMINAL: &[u64] = &[
    libc::TCGETS,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TIOCGWINSZ,
];

const VCPU_IOCTLS: &[u64] = &[
    kvm::RUN,
    kvm::GET_ONE_REG,
    kvm::SET_ONE_REG,
    kvm::GET_VCPU_EVENTS,
    kvm::SET_VCPU_EVENTS,
];

const DEVICE_IOCTLS: &[u64] = &[kvm::IRQ_LINE, kvm::SIGNAL_MSI];

/// What is refused with an error number instead of the process's end.
pub(super) fn refused(role: Role) -> Result<Rules> {
    let mut rules = match role {
        Role::ForkServer => rules(&[BY_NAME]),
        _ => rules(&[BY_NAME, OFFSPRING]),
    };
    // fstat(3) of the C library: a descriptor and no name.
    let named = condition(3, SeccompCmpOp::MaskedEq(libc::AT_EMPTY_PATH as u64), 0)?;
    add(&mut rules, libc::SYS_newfstatat, vec![named])?;
    Ok(rules)
}

/// What a thread of this kind may call. What is [`refused`] is refused all the same.
pub(super) fn allowed(role: Role) -> Result<Rules> {
    let (calls, ioctls): (&[&[i64]], &[&[u64]]) = match role {
        Role::Soft | Role::Lead | Role::Guest => (&[ALWAYS, WORLD], &[TERMINAL]),
        // Whether standard error is a terminal.
        Role::ForkServer => (&[ALWAYS, WORLD, CHILDREN], &[&[libc::TCGETS]]),
        Role::Devices => (&[ALWAYS, WORLD, DEVICES], &[TERMINAL, DEVICE_IOCTLS]),
        Role::Vcpu => (&[ALWAYS], &[VCPU_IOCTLS]),
        Role::Ticker => (&[ALWAYS, SLEEP], &[]),
    };
    let mut rules = rules(calls);
    // Trapped here, they would end the process before they could be refused.
    for list in [BY_NAME, OFFSPRING] {
        rules.extend(list.iter().map(|number| (*number, Vec::new())));
    }
    for request in ioctls.iter().copied().flatten() {
        add(&mut rules, libc::SYS_ioctl, vec![equal(1, *request)?])?;
    }
    // Rust asks whether a descriptor is open before it closes it, in builds with debug assertions.
    add(
        &mut rules,
        libc::SYS_fcntl,
        vec![equal(1, libc::F_GETFD as u64)?],
    )?;
    let not_executable = || condition(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0);
    add(&mut rules, libc::SYS_mmap, vec![not_executable()?])?;
    add(&mut rules, libc::SYS_mprotect, vec![not_executable()?])?;
    // abort(3), and the signal that takes a vCPU out of the guest.
    if role == Role::ForkServer {
        // Its children's, too, of whom nobody knows the numbers yet.
        rules.insert(libc::SYS_tgkill, Vec::new());
        for option in [
            libc::PR_SET_PDEATHSIG,
            libc::PR_SET_NO_NEW_PRIVS,
            libc::PR_SET_NAME,
        ] {
            add(&mut rules, libc::SYS_prctl, vec![equal(0, option as u64)?])?;
        }
    } else {
        let to_ourselves = equal(0, std::process::id().into())?;
        add(&mut rules, libc::SYS_tgkill, vec![to_ourselves])?;
    }
    Ok(rules)
}

/// Adds what answering clients of a listening socket takes.
pub(super) fn add_answers(allowed: &mut Rules) -> Result<()> {
    allowed.extend(rules(&[&[
        libc::SYS_accept4,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
    ]]));
    // A socket that is accepted must not be waited for.
    add(allowed, libc::SYS_ioctl, vec![equal(1, libc::FIONBIO)?])
}

fn rules(lists: &[&[i64]]) -> Rules {
    lists
        .iter()
        .copied()
        .flatten()
        .map(|number| (*number, Vec::new()))
        .collect()
}

/// Adds an alternative to a call's rules.
fn add(rules: &mut Rules, number: i64, conditions: Vec<SeccompCondition>) -> Result<()> {
    let rule = SeccompRule::new(conditions).context("a rule without conditions")?;
    rules.entry(number).or_default().push(rule);
    Ok(())
}

fn equal(argument: u8, value: u64) -> Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::Eq, value)
}

/// The kernel looks at the lower half of `int` arguments only, so that is what is compared.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .context("a condition on an argument")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 6] = [
        Role::Soft,
        Role::Lead,
        Role::Guest,
        Role::Devices,
        Role::Vcpu,
        Role::Ticker,
    ];

    #[test]
    fn no_thread_starts_programs_or_talks_to_others() {
        for role in ROLES {
            let rules = allowed(role).unwrap();
            for number in [
                libc::SYS_execve,
                libc::SYS_execveat,
                libc::SYS_socket,
                libc::SYS_ptrace,
                libc::SYS_process_vm_writev,
                libc::SYS_kill,
                libc::SYS_prctl,
                libc::SYS_seccomp,
                libc::SYS_io_uring_setup,
                libc::SYS_bpf,
            ] {
                assert!(!rules.contains_key(&number), "{role:?}: {number}");
            }
        }
    }

    #[test]
    fn threads_and_files_are_refused() {
        let rules = refused(Role::Soft).unwrap();
        for number in [libc::SYS_clone, libc::SYS_clone3, libc::SYS_openat] {
            assert!(rules[&number].is_empty(), "{number}");
        }
        assert_eq!(rules[&libc::SYS_newfstatat].len(), 1);
    }

    #[test]
    fn a_vcpu_does_not_touch_the_terminal() {
        let requests = |role| allowed(role).unwrap()[&libc::SYS_ioctl].len();
        assert_eq!(requests(Role::Vcpu), VCPU_IOCTLS.len());
        assert_eq!(requests(Role::Soft), TERMINAL.len());
    }

    /// A call with an empty list of rules would be allowed whatever its arguments.
    #[test]
    fn calls_that_do_much_are_allowed_by_their_arguments() {
        for role in ROLES {
            let rules = allowed(role).unwrap();
            for number in [
                libc::SYS_ioctl,
                libc::SYS_mmap,
                libc::SYS_mprotect,
                libc::SYS_tgkill,
            ] {
                // Not listed at all is better still.
                let any = rules.get(&number).is_some_and(Vec::is_empty);
                assert!(!any, "{role:?}: {number}");
            }
        }
        let ticker = allowed(Role::Ticker).unwrap();
        assert!(!ticker.contains_key(&libc::SYS_ioctl));
    }

    /// The numbers are computed as the kernel's headers do: direction, size, type, number
    /// (`include/uapi/asm-generic/ioctl.h`).
    #[test]
    fn ioctls_are_those_of_the_kernels_headers() {
        let ioc = |direction: u64, size: u64, number: u64| {
            direction << 30 | size << 16 | 0xae << 8 | number
        };
        let (none, write, read) = (0, 1, 2);
        assert_eq!(kvm::RUN, ioc(none, 0, 0x80));
        // struct kvm_one_reg: two __u64.
        assert_eq!(kvm::GET_ONE_REG, ioc(write, 16, 0xab));
        assert_eq!(kvm::SET_ONE_REG, ioc(write, 16, 0xac));
        // struct kvm_vcpu_events of arm64: 8 bytes and a __u64 of exception, 12 __u32.
        assert_eq!(kvm::GET_VCPU_EVENTS, ioc(read, 64, 0x9f));
        assert_eq!(kvm::SET_VCPU_EVENTS, ioc(write, 64, 0xa0));
        // struct kvm_irq_level: two __u32. struct kvm_msi: five __u32 and padding to 32.
        assert_eq!(kvm::IRQ_LINE, ioc(write, 8, 0x61));
        assert_eq!(kvm::SIGNAL_MSI, ioc(write, 32, 0xa5));
    }
}
