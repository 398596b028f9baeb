//! What a mandatory policy says of the calling thread, by the system calls for it (`linux/lsm.h`, Linux 6.8): they take no path, so they work
//! where `/proc` cannot be reached.
#![expect(unsafe_code, reason = "lsm_get_self_attr(2) and lsm_set_self_attr(2) have no safe form")]

use std::io;

/// `lsm_get_self_attr`, on every architecture.
const GET: libc::c_long = 459;
/// `lsm_set_self_attr`.
const SET: libc::c_long = 460;
/// `struct lsm_ctx` without its text: id, flags, length of all, length of the text; 8 bytes each.
const HEADER_LEN: usize = 32;
/// Contexts have 60 bytes, and few modules have one.
const BUFFER_LEN: usize = 1024;

/// Whose attribute it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Module {
    Selinux = 101,
    AppArmor = 104,
}

/// Which attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    /// What the thread is.
    Current = 100,
    /// What the next program is that it executes, or that a process which it makes executes.
    Exec = 101,
}

/// A buffer with the alignment of the kernel's structure.
#[repr(C, align(8))]
struct Buffer([u8; BUFFER_LEN]);

/// The thread's current context and the module whose it is; `None` where no module has one, or the kernel does not know the call.
pub(crate) fn current() -> Option<(Module, String)> {
    let mut buffer = Buffer([0; BUFFER_LEN]);
    let mut size = u32::try_from(BUFFER_LEN).ok()?;
    // SAFETY: the kernel writes at most `size` bytes to the buffer, which has as many and is aligned, and the length to `size`.
    let answer =
        unsafe { libc::syscall(GET, Attribute::Current as u32, buffer.0.as_mut_ptr(), &raw mut size, 0_u32) };
    let count = usize::try_from(answer).ok()?;
    contexts(buffer.0.get(..usize::try_from(size).ok()?)?).take(count).find(|(_, text)| !text.is_empty())
}

/// Sets an attribute of the calling thread; an empty context takes back what was set.
///
/// # Errors
/// The system's: the policy does not know the context, or does not let this thread into it.
pub(crate) fn set(attribute: Attribute, context: &str) -> io::Result<()> {
    let mut buffer = Buffer([0; BUFFER_LEN]);
    let len = HEADER_LEN + context.len();
    let header = [Module::Selinux as u64, 0, len as u64, context.len() as u64].map(u64::to_ne_bytes);
    let bytes = header.into_iter().flatten().chain(context.bytes());
    buffer.0.get_mut(..len).ok_or(io::ErrorKind::InvalidInput)?;
    buffer.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let size = u32::try_from(len).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `size` bytes of the buffer, which has more, and writes nothing.
    let answer = unsafe { libc::syscall(SET, attribute as u32, buffer.0.as_ptr(), size, 0_u32) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Each `struct lsm_ctx` of the kernel's answer that is of a module we know.
fn contexts(bytes: &[u8]) -> impl Iterator<Item = (Module, String)> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let number = |at: usize| {
                let bytes = rest.get(at..at + 8)?.try_into().ok()?;
                u64::from_ne_bytes(bytes).try_into().ok()
            };
            let (id, len, text_len): (usize, usize, usize) = (number(0)?, number(16)?, number(24)?);
            let text = rest.get(HEADER_LEN..HEADER_LEN.checked_add(text_len)?)?;
            let text = String::from_utf8_lossy(text).trim_end_matches(['\0', '\n']).to_owned();
            rest = rest.get(len.max(HEADER_LEN)..).unwrap_or_default();
            match id {
                101 => return Some((Module::Selinux, text)),
                104 => return Some((Module::AppArmor, text)),
                _ => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(id: u64, text: &[u8], padding: usize) -> Vec<u8> {
        let len = (HEADER_LEN + text.len() + padding) as u64;
        let header = [id, 0, len, text.len() as u64].map(u64::to_ne_bytes);
        header.into_iter().flatten().chain(text.iter().copied()).chain(vec![0; padding]).collect()
    }

    #[test]
    fn finds_the_context_among_those_of_other_modules() {
        let bytes =
            [context(100, b"x", 7), context(101, b"u:r:t:s0\0", 7), context(104, b"p (enforce)\n", 4)]
                .concat();
        let found: Vec<_> = contexts(&bytes).collect();
        assert_eq!(
            found,
            [(Module::Selinux, "u:r:t:s0".to_owned()), (Module::AppArmor, "p (enforce)".to_owned())]
        );
    }

    #[test]
    fn an_answer_that_is_cut_or_lies_about_lengths_ends() {
        let good = context(101, b"u:r:t:s0", 0);
        for len in 0..good.len() {
            assert_eq!(contexts(&good[..len]).count(), 0, "{len}");
        }
        let mut endless = context(101, b"u:r:t:s0", 0);
        endless[16..24].fill(0);
        assert!(contexts(&endless).count() <= 2);
        let mut long = context(101, b"u:r:t:s0", 0);
        long[24..32].fill(0xff);
        assert_eq!(contexts(&long).count(), 0);
    }

    #[test]
    fn a_context_that_does_not_fit_is_refused_before_the_call() {
        assert_eq!(
            set(Attribute::Exec, &"x".repeat(BUFFER_LEN)).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
