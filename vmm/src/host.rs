//! System calls for which no library of ours has a safe function.
#![allow(unsafe_code, reason = "libc")]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

/// An unnamed file in memory; `name` shows in /proc.
pub(crate) fn memfd(name: &CStr) -> io::Result<File> {
    // SAFETY: the name is a string that ends with NUL and outlives the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}
