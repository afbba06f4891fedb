//! The two system calls that have no safe wrapper.

use rustix::{
    io::Errno,
    thread::{UnshareFlags, unshare_unsafe},
};

/// Takes namespaces of its own, of every kind but time.
pub(super) fn take_namespaces() -> Result<(), Errno> {
    let all = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    // SAFETY: the table of open files stays shared, as FILES is not among the flags.
    unsafe { unshare_unsafe(all) }
}

/// Marks every descriptor from 3 on to be closed when the process becomes another program.
pub(super) fn close_the_rest_on_exec() -> Result<(), Errno> {
    // SAFETY: nothing is closed now, so that no owner of a descriptor notices; no memory is passed.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    }
}
