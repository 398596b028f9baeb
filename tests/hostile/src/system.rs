//! System calls by number, so that an attempt meets the kernel and not a library's opinion of it.
#![expect(unsafe_code, reason = "the attempts are system calls that no safe function makes")]

use std::ffi::CStr;

/// How an attempt ended: the error, and which system call met it.
pub(crate) type Outcome = Result<i64, Met>;

/// An error that a system call met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) call: libc::c_long,
    pub(crate) error: i32,
}

/// Makes a system call with numbers for arguments.
pub(crate) fn call(number: libc::c_long, arguments: [i64; 6]) -> Outcome {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: callers pass numbers, null pointers, or addresses of memory that they hold until the call returns and of which the
    // call reads or writes no more than there is. A call that replaced or ended the process would be an attempt that succeeded.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if answer >= 0 {
        return Ok(answer);
    }
    Err(Met { call: number, error: std::io::Error::last_os_error().raw_os_error().unwrap_or(0) })
}

/// The address of bytes that end with a zero.
pub(crate) fn text(text: &CStr) -> i64 {
    address(text.as_ptr())
}

/// An address as a number.
pub(crate) fn address<T>(pointer: *const T) -> i64 {
    i64::try_from(pointer.addr()).unwrap_or(0)
}

/// The error's name.
pub(crate) fn name(error: i32) -> String {
    let known = match error {
        libc::EPERM => "EPERM",
        libc::EACCES => "EACCES",
        libc::ENOENT => "ENOENT",
        libc::EBADF => "EBADF",
        libc::ENOSYS => "ENOSYS",
        libc::EINVAL => "EINVAL",
        libc::EFAULT => "EFAULT",
        libc::ESRCH => "ESRCH",
        libc::EAGAIN => "EAGAIN",
        libc::EMFILE => "EMFILE",
        libc::ENOMEM => "ENOMEM",
        libc::EROFS => "EROFS",
        libc::ENODEV => "ENODEV",
        libc::ENXIO => "ENXIO",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
        libc::ESOCKTNOSUPPORT => "ESOCKTNOSUPPORT",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::ENOEXEC => "ENOEXEC",
        libc::ETXTBSY => "ETXTBSY",
        libc::EXDEV => "EXDEV",
        libc::ENOTDIR => "ENOTDIR",
        libc::EEXIST => "EEXIST",
        libc::ENOKEY => "ENOKEY",
        other => return other.to_string(),
    };
    known.to_owned()
}
