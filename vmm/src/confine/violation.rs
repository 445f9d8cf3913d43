//! SIGSYS: what the kernel sends to a thread whose system call its filter traps. The process ends
//! with a message; a handler that returned would let it go on with the call undone.
#![allow(
    unsafe_code,
    reason = "a signal handler reads siginfo and calls write(2)"
)]

use std::cell::Cell;

use anyhow::{Result, anyhow};
use libc::{c_int, c_void, siginfo_t};
use stallbox_machine::outcome::Outcome;
use vmm_sys_util::signal::register_signal_handler;

thread_local! {
    /// Without a destructor, so that a signal handler may look at it at any time.
    static THREAD: Cell<&'static str> = const { Cell::new("an unnamed") };
}

/// What the message calls this thread.
pub(super) fn name_thread(name: &'static str) {
    THREAD.set(name);
}

/// Installs the handler, for the whole process.
pub(super) fn handle() -> Result<()> {
    register_signal_handler(libc::SIGSYS, end).map_err(|error| anyhow!("{error}"))
}

/// Calls that a message names; the others are told by their numbers.
const NAMES: &[(i64, &str)] = &[
    (libc::SYS_bpf, "bpf"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_execve, "execve"),
    (libc::SYS_execveat, "execveat"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_io_uring_setup, "io_uring_setup"),
    (libc::SYS_ioctl, "ioctl"),
    (libc::SYS_kill, "kill"),
    (libc::SYS_mmap, "mmap"),
    (libc::SYS_mprotect, "mprotect"),
    (libc::SYS_pidfd_open, "pidfd_open"),
    (libc::SYS_prctl, "prctl"),
    (libc::SYS_process_vm_readv, "process_vm_readv"),
    (libc::SYS_process_vm_writev, "process_vm_writev"),
    (libc::SYS_ptrace, "ptrace"),
    (libc::SYS_seccomp, "seccomp"),
    (libc::SYS_socket, "socket"),
    (libc::SYS_tgkill, "tgkill"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
    (libc::SYS_unlinkat, "unlinkat"),
];

/// `siginfo_t` of a SIGSYS, as far as it is read here (Linux,
/// `include/uapi/asm-generic/siginfo.h`: `_sigsys` begins at 16 bytes on 64-bit hosts).
#[repr(C)]
struct SigSys {
    _header: [u64; 2],
    _call_address: u64,
    call: c_int,
}

extern "C" fn end(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes the siginfo of a SIGSYS, which is longer than this part of it.
    let call = i64::from(unsafe { (*info.cast::<SigSys>()).call });
    let mut message = Message::default();
    message.text("stallbox: confinement: the ");
    message.text(THREAD.get());
    message.text(" thread made the system call ");
    match NAMES.iter().find(|(number, _)| *number == call) {
        Some((_, name)) => message.text(name),
        None => message.text("number"),
    }
    message.text(" (");
    message.number(call.unsigned_abs());
    message.text(" on ");
    message.text(std::env::consts::ARCH);
    message.text(
        "), which it has no need of.\n  This is a defect of Stallbox, or a guest that broke out. \
         Please report it with this message and\n  the command line; --unconfined runs without \
         confinement.\n",
    );
    message.print();
    // SAFETY: ends the process, and is safe in a signal handler.
    unsafe { libc::_exit(Outcome::ERROR.into()) }
}

/// Text without allocation, which a signal handler must not do.
struct Message {
    bytes: [u8; 512],
    length: usize,
}

impl Default for Message {
    fn default() -> Message {
        Message {
            bytes: [0; 512],
            length: 0,
        }
    }
}

impl Message {
    fn text(&mut self, text: &str) {
        for (to, from) in self.bytes[self.length..].iter_mut().zip(text.bytes()) {
            *to = from;
            self.length += 1;
        }
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.text(std::str::from_utf8(&digits[at..]).unwrap_or_default());
    }

    fn print(&self) {
        // SAFETY: the buffer is as long as it is said to be. Nothing can be done if it fails.
        unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fill: impl FnOnce(&mut Message)) -> String {
        let mut message = Message::default();
        fill(&mut message);
        String::from_utf8(message.bytes[..message.length].to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_decimal() {
        assert_eq!(text(|message| message.number(0)), "0");
        assert_eq!(text(|message| message.number(1234)), "1234");
        assert_eq!(
            text(|message| message.number(u64::MAX)),
            u64::MAX.to_string()
        );
    }

    #[test]
    fn a_message_that_is_too_long_is_cut() {
        let long = "x".repeat(1000);
        assert_eq!(text(|message| message.text(&long)), long[..512]);
    }
}
