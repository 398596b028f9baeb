//! The kernel of this machine makes records of what its filters refuse, and they are read. Where this process may not hear them, nothing is
//! tested, and it says so.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it leaves out"
)]

use anchorhold_collector::record::{Record, read};
use anchorhold_collector::socket::{Heard, Hearing, Kernel};
use anchorhold_ipc::KernelEvent;
use rustix::event::{Timespec, poll};
use std::process::{Command, Stdio};

/// `socket`, on x86-64.
const SOCKET: u32 = 41;
/// Records of others that may come in between.
const MAX_OTHERS: usize = 100_000;

#[test]
fn case_43_the_kernel_tells_of_what_a_filter_refused() {
    let mut kernel = match Kernel::open(Hearing::Beside) {
        Ok(kernel) => kernel,
        Err(error) => {
            return eprintln!("not tested: the kernel's audit records cannot be heard here: {error}");
        }
    };
    let empty = tempfile::tempdir().unwrap();
    let mut hostile = Command::new(env!("CARGO_BIN_EXE_anchorhold-hostile-worker"))
        .arg("attempts")
        .current_dir(empty.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = hostile.id();
    assert!(hostile.wait().unwrap().success());
    for _ in 0..MAX_OTHERS {
        // What was told is there already; the time is for a kernel that is slow to hand it on.
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert!(
            poll(&mut [kernel.poll_fd()], Some(&timeout)).unwrap() > 0,
            "the kernel told nothing of process {pid}"
        );
        let Heard::Record { kind, text } = kernel.receive().unwrap() else { continue };
        if let Ok(Record {
            event: Some(KernelEvent::Filtered { pid: of, syscall: SOCKET, signal: 0, .. }),
            ..
        }) = read(kind, &text)
            && of == pid
        {
            return;
        }
    }
    panic!("the kernel tells of others without end");
}
