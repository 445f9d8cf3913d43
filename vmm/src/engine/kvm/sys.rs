//! What is unsafe about KVM, each piece behind a safe function.
#![allow(unsafe_code, reason = "ioctls that take pointers, a union, signals")]

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;

use anyhow::{Context, Result, anyhow};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{VcpuFd, VmFd};
use libc::{c_int, c_void, siginfo_t};
use stallbox_devices::GuestRam;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::signal::{
    SIGRTMIN, block_signal, create_sigset, register_signal_handler, unblock_signal,
};

/// Gives the guest its RAM. The caller keeps `ram` for as long as the VM runs.
pub(super) fn map_ram(vm: &VmFd, ram: &GuestRam) -> Result<()> {
    for (slot, region) in (0..).zip(ram.iter()) {
        let address = region
            .get_host_address(vm_memory::MemoryRegionAddress(0))
            .context("RAM is not mapped")?;
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: address as u64,
        };
        // SAFETY: the mapping is as long as the region says and stays: vCPU threads hold RAM, and
        // the engine holds it beyond them. Host code reaches it by volatile accesses only.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
    }
    Ok(())
}

/// The guest physical address of a KVM_EXIT_ARM_NISV.
pub(super) fn fault_address(vcpu: &mut VcpuFd) -> u64 {
    let run = vcpu.get_kvm_run();
    // SAFETY: all bits are an integer, whatever the exit was.
    unsafe { run.__bindgen_anon_1.arm_nisv.fault_ipa }
}

thread_local! {
    /// `kvm_run.immediate_exit` of the vCPU that runs on this thread. Without a destructor, so that
    /// a signal handler may look at it at any time.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

/// The signal that takes a vCPU's thread out of KVM_RUN.
pub(super) fn kick_signal() -> c_int {
    SIGRTMIN()
}

extern "C" fn kick(_signal: c_int, _info: *mut siginfo_t, _context: *mut c_void) {
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: `Kickable` keeps the pointer valid while it is there; the kernel reads it at the
        // next KVM_RUN, hence volatile.
        unsafe { flag.write_volatile(1) };
    }
}

/// Makes a vCPU's thread one that can be kicked: a signal that comes before KVM_RUN is not lost.
pub(super) struct Kickable(VcpuFd);

impl Kickable {
    pub(super) fn new(mut vcpu: VcpuFd) -> Kickable {
        IMMEDIATE_EXIT.set(&raw mut vcpu.get_kvm_run().immediate_exit);
        Kickable(vcpu)
    }

    pub(super) fn vcpu(&mut self) -> &mut VcpuFd {
        &mut self.0
    }
}

impl Drop for Kickable {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(ptr::null_mut());
    }
}

/// Installs the handler of [`kick_signal`], for the whole process.
pub(super) fn handle_kicks() -> Result<()> {
    register_signal_handler(kick_signal(), kick).context("cannot handle the signal for vCPUs")
}

/// Signals as a file: they must be blocked in every thread. The thread that made it has them back
/// when it is dropped.
pub(super) struct Signals {
    file: File,
    blocked: Vec<c_int>,
}

impl Signals {
    /// Blocks the signals in this thread, and those that it starts from now on.
    pub(super) fn block(signals: &[c_int]) -> Result<Signals> {
        let set = create_sigset(signals).context("signal set")?;
        for &signal in signals {
            block_signal(signal)
                .map_err(|error| anyhow!("cannot block signal {signal}: {error}"))?;
        }
        // SAFETY: the set is initialised and outlives the call.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("signalfd");
        }
        // SAFETY: the descriptor was just made, and nobody else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        Ok(Signals {
            file,
            blocked: signals.to_vec(),
        })
    }

    /// The next signal that has come.
    pub(super) fn next(&mut self) -> Option<c_int> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        self.file.read_exact(&mut info).ok()?;
        // ssi_signo is the first field.
        let [a, b, c, d, ..] = info;
        Some(c_int::from_ne_bytes([a, b, c, d]))
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for &signal in &self.blocked {
            // It was blocked, so that this is a signal that there is.
            let _ = unblock_signal(signal);
        }
    }
}

/// Stops the process, as SIGTSTP would have; comes back with SIGCONT.
pub(super) fn stop_self() {
    // SAFETY: raising a signal touches no memory.
    unsafe { libc::raise(libc::SIGSTOP) };
}
