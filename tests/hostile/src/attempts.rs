//! What a process that was taken over would try.

use crate::system::{Met, Outcome, address, call, name, text};
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd as _;

/// What is there to be reached, found before the process gives up paths.
pub(crate) struct Targets {
    parent: i64,
    /// A file that it may start with, open for reading.
    file: Option<File>,
}

impl Targets {
    pub(crate) fn new() -> Self {
        Self {
            parent: i64::from(std::os::unix::process::parent_id()),
            file: File::open("/usr/lib64/ld-linux-x86-64.so.2")
                .or_else(|_| File::open("/proc/self/exe"))
                .ok(),
        }
    }

    /// The number of that file.
    pub(crate) fn file(&self) -> i64 {
        self.file.as_ref().map_or(-1, |file| file.as_raw_fd().into())
    }
}

/// Makes every attempt and says how each ended.
pub(crate) fn all(targets: &Targets, out: &mut impl Write) {
    let outcomes =
        [sockets(), paths(targets), processes(targets), memory(targets), kernel(), exhaustion(targets)];
    tell("attempt", outcomes.into_iter().flatten(), out);
}

/// Makes the attempts of one that serves: what it could still do while it started.
pub(crate) fn serving(targets: &Targets, out: &mut impl Write) {
    let file = targets.file();
    let mut byte = 0_u8;
    let own = address(&raw mut byte);
    let mask = [1_u64];
    let made = vec![
        // It would have the stack of the caller; the filter is met before.
        ("make a thread", call(libc::SYS_clone, [THREAD, 0, 0, 0, 0, 0])),
        ("make a thread the newer way", call(libc::SYS_clone3, [own, 88, 0, 0, 0, 0])),
        ("read a file at a place", call(libc::SYS_pread64, [file, own, 1, 0, 0, 0])),
        ("look at a file", call(libc::SYS_fstat, [file, own, 0, 0, 0, 0])),
        ("move in a file", call(libc::SYS_lseek, [file, 0, 0, 0, 0, 0])),
        ("keep memory out of swap", call(libc::SYS_mlock, [own, 1, 0, 0, 0, 0])),
        ("copy a descriptor", call(libc::SYS_fcntl, [file, libc::F_DUPFD_CLOEXEC.into(), 0, 0, 0, 0])),
        ("change a descriptor", call(libc::SYS_fcntl, [file, libc::F_SETFL.into(), 0, 0, 0, 0])),
        ("go to another CPU", call(libc::SYS_sched_setaffinity, [0, 8, address(mask.as_ptr()), 0, 0, 0])),
        ("ask what machine it is", call(libc::SYS_uname, [own, 0, 0, 0, 0, 0])),
        ("add a filter of its own", call(libc::SYS_seccomp, [1, 3, 0, 0, 0, 0])),
    ];
    tell("serving", made.into_iter(), out);
}

/// CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM.
const THREAD: i64 = 0x0005_0f00;

fn tell(kind: &str, outcomes: impl Iterator<Item = Made>, out: &mut impl Write) {
    for (attempt, outcome) in outcomes {
        let met = match outcome {
            Ok(_) => "ALLOWED".to_owned(),
            Err(Met { call, error }) => format!("{}\t{call}", name(error)),
        };
        // A reader that is gone has seen enough.
        let _ = writeln!(out, "{kind}\t{attempt}\t{met}");
    }
}

type Made = (&'static str, Outcome);

fn sockets() -> Vec<Made> {
    const STREAM: i32 = libc::SOCK_STREAM;
    const DGRAM: i32 = libc::SOCK_DGRAM;
    const RAW: i32 = libc::SOCK_RAW;
    let socket = |family: i32, kind: i32, protocol: i32| {
        call(libc::SYS_socket, [family.into(), kind.into(), protocol.into(), 0, 0, 0])
    };
    vec![
        ("socket tcp", socket(libc::AF_INET, STREAM, 0)),
        ("socket tcp6", socket(libc::AF_INET6, STREAM, 0)),
        ("socket udp", socket(libc::AF_INET, DGRAM, 0)),
        ("socket raw ip", socket(libc::AF_INET, RAW, libc::IPPROTO_ICMP)),
        ("socket packet", socket(libc::AF_PACKET, RAW, 0)),
        ("socket unix stream", socket(libc::AF_UNIX, STREAM, 0)),
        ("socket unix datagram", socket(libc::AF_UNIX, DGRAM, 0)),
        ("socket vsock", socket(libc::AF_VSOCK, STREAM, 0)),
        ("socket af_alg", socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
        ("socket netlink route", socket(libc::AF_NETLINK, RAW, libc::NETLINK_ROUTE)),
        ("socket netlink audit", socket(libc::AF_NETLINK, RAW, libc::NETLINK_AUDIT)),
        ("socket netlink uevent", socket(libc::AF_NETLINK, DGRAM, libc::NETLINK_KOBJECT_UEVENT)),
        ("socket netlink generic", socket(libc::AF_NETLINK, RAW, libc::NETLINK_GENERIC)),
        ("socket bluetooth", socket(libc::AF_BLUETOOTH, RAW, 1)),
        ("socket xdp", socket(libc::AF_XDP, RAW, 0)),
    ]
}

fn open(path: &CStr, flags: i32) -> Outcome {
    call(libc::SYS_openat, [libc::AT_FDCWD.into(), text(path), flags.into(), 0o600, 0, 0])
}

fn paths(targets: &Targets) -> Vec<Made> {
    const READ: i32 = libc::O_RDONLY;
    const WRITE: i32 = libc::O_WRONLY;
    const MAKE: i32 = libc::O_WRONLY | libc::O_CREAT;
    let file = targets.file();
    let byte = 0_u8;
    vec![
        ("list the root", open(c"/", READ | libc::O_DIRECTORY)),
        ("read settings", open(c"/etc/anchorhold/keeper.toml", READ)),
        ("read the log", open(c"/run/anchorhold/audit", READ)),
        ("read its own memory map", open(c"/proc/self/maps", READ)),
        ("read init's environment", open(c"/proc/1/environ", READ)),
        ("read cpuinfo", open(c"/proc/cpuinfo", READ)),
        ("make a file", open(c"dropped", MAKE)),
        ("make a file in the state", open(c"/run/anchorhold/dropped", MAKE)),
        ("open the root disk", open(c"/dev/vda", READ)),
        ("open physical memory", open(c"/dev/mem", READ)),
        ("open the kernel's log", open(c"/dev/kmsg", READ)),
        ("open a device of the machine", open(c"/dev/null", libc::O_RDWR)),
        ("set the core pattern", open(c"/proc/sys/kernel/core_pattern", WRITE)),
        ("leave enforcement", open(c"/sys/fs/selinux/enforce", WRITE)),
        ("load a policy", open(c"/sys/fs/selinux/load", WRITE)),
        ("go back to its starting domain", open(c"/proc/self/attr/current", WRITE)),
        ("open its own file again", open(c"/proc/self/fd/0", libc::O_RDWR)),
        ("write what it may read", call(libc::SYS_write, [file, address(&raw const byte), 1, 0, 0, 0])),
        ("shorten what it may read", call(libc::SYS_ftruncate, [file, 0, 0, 0, 0, 0])),
        ("change a mode", call(libc::SYS_fchmod, [file, 0o777, 0, 0, 0, 0])),
        ("open by handle", call(libc::SYS_open_by_handle_at, [libc::AT_FDCWD.into(), 0, 0, 0, 0, 0])),
        (
            "make a node",
            call(libc::SYS_mknodat, [libc::AT_FDCWD.into(), text(c"node"), 0o020_600, 0x0101, 0, 0]),
        ),
        ("make a memory file", call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0, 0, 0])),
        ("watch the file system", call(libc::SYS_fanotify_init, [0, 0, 0, 0, 0, 0])),
    ]
}

fn processes(targets: &Targets) -> Vec<Made> {
    let (parent, file) = (targets.parent, targets.file());
    let empty = [0_usize; 1];
    let run = |path: &CStr| {
        call(libc::SYS_execve, [text(path), address(empty.as_ptr()), address(empty.as_ptr()), 0, 0, 0])
    };
    let attach = |pid: i64| call(libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), pid, 0, 0, 0, 0]);
    let signal = |pid: i64| call(libc::SYS_kill, [pid, 0, 0, 0, 0, 0]);
    let own = i64::from(std::process::id());
    let others = || (1..400).filter(|pid| *pid != own && *pid != parent);
    vec![
        ("run a program", run(c"/usr/bin/anchorhold-keeper")),
        ("run itself", run(c"/proc/self/exe")),
        (
            "run what it may read",
            call(
                libc::SYS_execveat,
                [
                    file,
                    text(c""),
                    address(empty.as_ptr()),
                    address(empty.as_ptr()),
                    libc::AT_EMPTY_PATH.into(),
                    0,
                ],
            ),
        ),
        ("make a process", make_process()),
        ("trace the keeper", attach(parent)),
        ("trace init", attach(1)),
        ("signal the keeper", signal(parent)),
        ("signal init", signal(1)),
        ("signal any other process", first_allowed(others().map(signal))),
        ("read memory of the keeper", read_memory(parent)),
        ("read memory of any other process", first_allowed(others().map(read_memory))),
        ("take a descriptor of the keeper", take_descriptor(parent)),
        ("limit the keeper", {
            let limit = [64_u64, 64];
            call(libc::SYS_prlimit64, [parent, libc::RLIMIT_NOFILE.into(), address(limit.as_ptr()), 0, 0, 0])
        }),
        ("bind the keeper to a CPU", {
            let mask = 1_u64;
            call(libc::SYS_sched_setaffinity, [parent, 8, address(&raw const mask), 0, 0, 0])
        }),
        ("slow the keeper", call(libc::SYS_setpriority, [libc::PRIO_PROCESS.into(), parent, 19, 0, 0, 0])),
        ("become another user", call(libc::SYS_setresuid, [1, 1, 1, 0, 0, 0])),
        ("take capabilities", take_capabilities()),
        ("raise a limit", {
            let limit = [1_u64 << 20, 1 << 20];
            call(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE.into(), address(limit.as_ptr()), 0, 0, 0])
        }),
        ("allow dumps", call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0, 0])),
    ]
}

/// A process that was made ends at once.
fn make_process() -> Outcome {
    let made = call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0, 0])?;
    if made == 0 {
        return call(libc::SYS_exit_group, [0; 6]);
    }
    Ok(made)
}

/// The one that succeeded, or the last error that tells of a refusal: a process that is not there refuses nothing.
fn first_allowed(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let mut refusal = Met { call: 0, error: libc::ESRCH };
    for outcome in outcomes {
        match outcome {
            Ok(value) => return Ok(value),
            Err(Met { error: libc::ESRCH, .. }) => {}
            Err(met) => refusal = met,
        }
    }
    Err(refusal)
}

fn read_memory(pid: i64) -> Outcome {
    let mut into = [0_u8; 8];
    let (local, remote) = ([into.as_mut_ptr().addr(), into.len()], [0x40_0000_usize, 8]);
    match call(libc::SYS_process_vm_readv, [pid, address(local.as_ptr()), 1, address(remote.as_ptr()), 1, 0])
    {
        // It got as far as the address.
        Err(Met { error: libc::EFAULT, .. }) => Ok(0),
        outcome => outcome,
    }
}

fn take_descriptor(pid: i64) -> Outcome {
    let handle = call(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0])?;
    call(libc::SYS_pidfd_getfd, [handle, 0, 0, 0, 0, 0])
}

fn take_capabilities() -> Outcome {
    // Version 3, this process; all bits of effective, permitted and inheritable.
    let (header, all) = ([0x2008_0522_u32, 0], [u32::MAX; 6]);
    call(libc::SYS_capset, [address(header.as_ptr()), address(all.as_ptr()), 0, 0, 0, 0])
}

fn map(protection: i32, flags: i32, file: i64) -> Outcome {
    call(libc::SYS_mmap, [0, 4096, protection.into(), flags.into(), file, 0])
}

fn memory(targets: &Targets) -> Vec<Made> {
    const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
    const RUN: i32 = libc::PROT_READ | libc::PROT_EXEC;
    let turned = map(READ_WRITE, ANONYMOUS, -1)
        .and_then(|at| call(libc::SYS_mprotect, [at, 4096, RUN.into(), 0, 0, 0]));
    vec![
        ("map memory to write and run", map(READ_WRITE | libc::PROT_EXEC, ANONYMOUS, -1)),
        ("make written memory run", turned),
        ("map what it may read to run", map(RUN, libc::MAP_PRIVATE, targets.file())),
        ("let reading mean running", call(libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0])),
        ("handle page faults", call(libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0])),
        ("hide memory from the kernel", call(libc::SYS_memfd_secret, [0, 0, 0, 0, 0, 0])),
    ]
}

fn kernel() -> Vec<Made> {
    let unshare = |flags: i32| call(libc::SYS_unshare, [flags.into(), 0, 0, 0, 0, 0]);
    let attributes = [0_u64; 16];
    let at = address(attributes.as_ptr());
    vec![
        ("new user namespace", unshare(libc::CLONE_NEWUSER)),
        ("new mount namespace", unshare(libc::CLONE_NEWNS)),
        ("new pid namespace", unshare(libc::CLONE_NEWPID)),
        ("mount", call(libc::SYS_mount, [text(c"x"), text(c"/"), text(c"tmpfs"), 0, 0, 0])),
        ("unmount", call(libc::SYS_umount2, [text(c"/"), 2, 0, 0, 0, 0])),
        ("change the root", call(libc::SYS_chroot, [text(c"/"), 0, 0, 0, 0, 0])),
        ("make a BPF map", {
            // BPF_MAP_CREATE of an array: kind 2, key 4, value 4, entries 1.
            let map = [(4_u64 << 32) | 2, (1 << 32) | 4];
            call(libc::SYS_bpf, [0, address(map.as_ptr()), 16, 0, 0, 0])
        }),
        ("count events", {
            // A software event, 64 bytes long.
            let event = [(64_u64 << 32) | 1, 0, 0, 0, 0, 0, 0, 0];
            call(libc::SYS_perf_event_open, [address(event.as_ptr()), 0, -1, -1, 0, 0])
        }),
        ("make a ring", call(libc::SYS_io_uring_setup, [8, at, 0, 0, 0, 0])),
        ("add a key", call(libc::SYS_add_key, [text(c"user"), text(c"x"), at, 8, -3, 0])),
        ("ask for a key", call(libc::SYS_request_key, [text(c"user"), text(c"x"), 0, 0, 0, 0])),
        ("load a module", call(libc::SYS_init_module, [at, 8, text(c""), 0, 0, 0])),
        ("load another kernel", call(libc::SYS_kexec_load, [0, 0, 0, 0, 0, 0])),
        ("read the kernel's messages", call(libc::SYS_syslog, [3, at, 8, 0, 0, 0])),
        ("set the clock", {
            // Of its own: a ring that was made has written to the other.
            let time = [0_u64; 2];
            let time = address(time.as_ptr());
            call(libc::SYS_clock_settime, [libc::CLOCK_REALTIME.into(), time, 0, 0, 0, 0])
        }),
        ("set the host's name", call(libc::SYS_sethostname, [text(c"x"), 1, 0, 0, 0, 0])),
        ("swap memory out", call(libc::SYS_swapon, [text(c"/dev/vda"), 0, 0, 0, 0, 0])),
        ("reach ports of devices", call(libc::SYS_iopl, [3, 0, 0, 0, 0, 0])),
        // Magic numbers that the kernel does not know: whoever may switch the machine off is told that they are wrong.
        (
            "switch the machine off",
            match call(libc::SYS_reboot, [0, 0, 0, 0, 0, 0]) {
                Err(Met { error: libc::EINVAL, .. }) => Ok(0),
                outcome => outcome,
            },
        ),
        ("add a filter of its own", call(libc::SYS_seccomp, [1, 0, 0, 0, 0, 0])),
        ("join a namespace", call(libc::SYS_setns, [0, 0, 0, 0, 0, 0])),
    ]
}

fn exhaustion(targets: &Targets) -> Vec<Made> {
    let file = targets.file();
    vec![
        ("hold many descriptors", hold_descriptors(file)),
        ("hold a new line", {
            let mut pair = [0_i32; 2];
            let family = libc::AF_UNIX.into();
            call(
                libc::SYS_socketpair,
                [family, libc::SOCK_STREAM.into(), 0, address(pair.as_mut_ptr()), 0, 0],
            )
        }),
        ("fill a disk", call(libc::SYS_fallocate, [file, 0, 0, 1 << 40, 0, 0])),
        ("make a pipe", call(libc::SYS_pipe2, [0, 0, 0, 0, 0, 0])),
        ("make shared memory", call(libc::SYS_shmget, [0, 1 << 30, 0o1600, 0, 0, 0])),
    ]
}

/// More descriptors than any worker needs; what was taken is given back.
fn hold_descriptors(file: i64) -> Outcome {
    const MANY: usize = 16_384;
    let mut held = Vec::new();
    let outcome = loop {
        match call(libc::SYS_dup, [file, 0, 0, 0, 0, 0]) {
            Ok(descriptor) if held.len() < MANY => held.push(descriptor),
            outcome => break outcome,
        }
    };
    for descriptor in held {
        // One of ours, closed once.
        let _ = call(libc::SYS_close, [descriptor, 0, 0, 0, 0, 0]);
    }
    outcome
}
