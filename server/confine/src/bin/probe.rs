//! `anchorhold-confine-probe ROLE [run]`: confines itself as that process would, then behaves like one that was
//! taken over. Prints one line for each layer and each attempt; exit 0 when all attempts were refused and the work that
//! the process exists for still goes on. Start it in an empty directory.

use anchorhold_confine::{Reach, Role, Starting, enter};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{AddressFamily, SocketType, socket};
use std::fmt::Display;
use std::io::{Read as _, Write as _};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let role = match std::env::args().nth(1).as_deref() {
        Some("worker") => Role::Worker,
        Some("device-worker") => Role::DeviceWorker(device()),
        Some("gpu-attester") => Role::GpuAttester(device()),
        Some("gpu-acceptor") => Role::GpuAcceptor(device()),
        Some("gateway") => Role::Gateway,
        Some("collector") => Role::Collector,
        Some("keeper") => Role::Keeper(Reach { read: vec![".".into()], ..Reach::default() }),
        Some("fetcher") => Role::Fetcher(Reach { write: vec![".".into()], ..Reach::default() }),
        _ => {
            say(
                "usage: anchorhold-confine-probe worker|device-worker|gpu-attester|gpu-acceptor|gateway|fetcher|collector|keeper [run]  (in an empty directory)",
            );
            return ExitCode::from(2);
        }
    };
    let starting = match enter(&role) {
        Ok(starting) => starting,
        Err(error) => {
            say(&format!("not confined: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let layers = starting.layers().clone();
    layers.active.iter().for_each(|layer| say(&format!("active\t{layer}")));
    layers.missing.iter().for_each(|layer| say(&format!("missing\t{layer}")));
    if matches!(role, Role::Collector | Role::Keeper(_)) {
        // The one has no threads for the work below, and the other starts programs; what they may not is held by the guest's tests.
        return if changes_phase(starting, &role) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut attempts = if matches!(role, Role::Fetcher(_)) { attempts_with_network() } else { attempts() };
    let has_device = matches!(role, Role::DeviceWorker(_) | Role::GpuAttester(_) | Role::GpuAcceptor(_));
    if (has_device || matches!(role, Role::Fetcher(_))) && !layers.active.contains(&"landlock") {
        // The other processes have no root directory either; for this one nothing else holds paths and signals.
        attempts.retain(|(name, _)| !LANDLOCK_ALONE.contains(name));
    }
    let refused = attempts.into_iter().fold(true, |all, (name, result)| {
        let (word, held) = match result {
            Ok(()) => ("ALLOWED".to_owned(), false),
            Err(error) => (format!("refused\t{error}"), true),
        };
        say(&format!("attempt\t{name}\t{word}"));
        all && held
    });
    let works = still_works()
        && (!matches!(role, Role::Fetcher(_)) || still_fetches())
        && (!has_device || still_asks_its_device());
    say(&format!("work\t{}", if works { "goes on" } else { "BROKEN" }));
    let phases = changes_phase(starting, &role);
    if std::env::args().nth(2).as_deref() == Some("run") {
        // Whoever serves and runs a program is ended by the kernel.
        let _ = Command::new("/bin/true").status();
        let _ = std::os::unix::process::CommandExt::exec(&mut Command::new("/bin/true"));
        return ExitCode::FAILURE;
    }
    if refused && works && phases { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Serves, and sees that a call which was allowed before is refused from then on.
fn changes_phase(starting: Starting, role: &Role) -> bool {
    let before = only_to_start(role);
    if let Err(error) = starting.serve() {
        say(&format!("not confined: {error}"));
        return false;
    }
    let after = only_to_start(role);
    let is_refused = after == Err(rustix::io::Errno::PERM);
    say(&format!("start\t{}", if before.is_ok() { "allowed" } else { "REFUSED" }));
    say(&format!("serving\t{}", if is_refused { "refused" } else { "ALLOWED" }));
    before.is_ok() && is_refused
}

/// A call that this process makes while it starts and not when it serves.
fn only_to_start(role: &Role) -> rustix::io::Result<()> {
    match role {
        // Threads, of which a worker makes all before it serves.
        Role::Worker => std::thread::Builder::new().spawn(|| ()).map(drop).map_err(errno),
        Role::Gateway | Role::Fetcher(_) => {
            rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).map(drop)
        }
        Role::DeviceWorker(_) | Role::GpuAttester(_) | Role::GpuAcceptor(_) | Role::Collector => {
            another_filter()
        }
        Role::Keeper(_) => match rustix::net::accept(std::io::stdin()) {
            // It got as far as the descriptor.
            Err(rustix::io::Errno::NOTSOCK) => Ok(()),
            other => other.map(drop),
        },
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn errno(error: std::io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::INVAL)
}

/// A filter without instructions, which the kernel refuses as one (`EFAULT`, `EINVAL`) where the call is allowed.
#[expect(unsafe_code, reason = "seccomp(2) has no safe form")]
fn another_filter() -> rustix::io::Result<()> {
    // SAFETY: the address is null, which the kernel reads nothing from.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, 1, 3, std::ptr::null::<libc::sock_fprog>()) };
    match (answer, errno(std::io::Error::last_os_error())) {
        (-1, rustix::io::Errno::FAULT) => Ok(()),
        (_, error) => Err(error),
    }
}

fn say(line: &str) {
    // Nobody reads when the pipe is gone, and then there is nobody to tell either.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What nothing but Landlock refuses a fetcher or a worker with a device.
const LANDLOCK_ALONE: [&str; 7] = [
    "list the root",
    "write a file",
    "write a file above",
    "read a file above",
    "read a file",
    "read own memory file",
    "signal the parent",
];

type Attempt = (&'static str, Result<(), String>);

/// What a hostile worker would try first.
fn attempts() -> Vec<Attempt> {
    let opened = |family, kind| outcome(socket(family, kind, None));
    let mut attempts = vec![
        ("tcp socket", opened(AddressFamily::INET, SocketType::STREAM)),
        ("udp socket", opened(AddressFamily::INET6, SocketType::DGRAM)),
        ("unix socket", opened(AddressFamily::UNIX, SocketType::STREAM)),
        ("netlink socket", opened(AddressFamily::NETLINK, SocketType::RAW)),
        ("list the root", outcome(std::fs::read_dir("/"))),
        ("write a file", outcome(std::fs::write("dropped", b"x"))),
        ("anonymous file", outcome(rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::empty()))),
    ];
    attempts.extend(attempts_of_all());
    attempts
}

/// What a hostile fetcher would try, which has the network and one directory.
fn attempts_with_network() -> Vec<Attempt> {
    let listening = std::net::TcpListener::bind("127.0.0.1:0");
    let mut attempts = vec![
        ("listen", outcome(listening)),
        ("packet socket", outcome(socket(AddressFamily::PACKET, SocketType::RAW, None))),
        ("list the root", outcome(std::fs::read_dir("/"))),
        ("write a file above", outcome(std::fs::write("../dropped", b"x"))),
        ("read a file above", outcome(std::fs::read("../x"))),
    ];
    attempts.extend(attempts_of_all());
    attempts
}

/// What anyone who took over a process would try.
fn attempts_of_all() -> Vec<Attempt> {
    vec![
        ("vsock socket", outcome(socket(AddressFamily::VSOCK, SocketType::STREAM, None))),
        ("read a file", outcome(std::fs::read("/etc/passwd"))),
        ("read own memory file", outcome(std::fs::File::open("/proc/self/mem"))),
        ("run a program", outcome(Command::new("/bin/true").status())),
        ("run itself", outcome(Command::new("/proc/self/exe").status())),
        ("signal the parent", signal_parent()),
        ("take a descriptor", take_descriptor()),
        ("bind the parent to a CPU", bind_parent()),
        ("executable memory", executable_memory()),
        ("new user namespace", new_namespace()),
        ("change root", outcome(rustix::process::chroot("/"))),
        ("mount", mount()),
        (
            "regain dumps",
            outcome(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)),
        ),
        ("change a limit", change_limit()),
    ]
}

fn outcome<T, E: Display>(result: Result<T, E>) -> Result<(), String> {
    result.map(|_| ()).map_err(|e| e.to_string())
}

fn signal_parent() -> Result<(), String> {
    match rustix::process::getppid() {
        Some(parent) => outcome(rustix::process::test_kill_process(parent)),
        None => Err("no parent in sight".to_owned()),
    }
}

fn bind_parent() -> Result<(), String> {
    let parent = rustix::process::getppid().unwrap_or_else(rustix::process::getpid);
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    outcome(rustix::thread::sched_setaffinity(Some(parent), &first))
}

fn take_descriptor() -> Result<(), String> {
    let target = rustix::process::getppid().unwrap_or_else(rustix::process::getpid);
    let handle = rustix::process::pidfd_open(target, rustix::process::PidfdFlags::empty());
    outcome(
        handle.and_then(|h| rustix::process::pidfd_getfd(h, 0, rustix::process::PidfdGetfdFlags::empty())),
    )
}

#[expect(unsafe_code, reason = "mapping memory is the attempt itself")]
fn executable_memory() -> Result<(), String> {
    // SAFETY: a fresh anonymous private mapping that nothing ever reads, writes or runs.
    let mapped = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            4096,
            ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC,
            MapFlags::PRIVATE,
        )
    };
    outcome(mapped)
}

#[expect(unsafe_code, reason = "leaving a namespace is the attempt itself")]
fn new_namespace() -> Result<(), String> {
    // SAFETY: no descriptor table is unshared.
    outcome(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) })
}

/// What an administrator may, and so may whoever lets GPUs take work if nothing but capabilities held it.
#[expect(unsafe_code, reason = "rustix is built without this call")]
fn mount() -> Result<(), String> {
    // SAFETY: the texts end in a zero, and there are no data.
    let answer = unsafe {
        libc::mount(c"none".as_ptr(), c"/".as_ptr(), c"tmpfs".as_ptr(), libc::MS_RDONLY, std::ptr::null())
    };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().to_string()) }
}

fn change_limit() -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    outcome(setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }))
}

/// What stands for a device: it is there everywhere, and takes what is written.
const DEVICE: &str = "/dev/null";

fn device() -> Reach {
    Reach { write: vec![DEVICE.into()], ..Reach::default() }
}

/// Opens the device, writes to it, and asks it something by `ioctl`, to which this one has no answer.
fn still_asks_its_device() -> bool {
    let device = std::fs::OpenOptions::new().read(true).write(true).open(DEVICE);
    device.is_ok_and(|mut device| {
        device.write_all(b"x").is_ok() && rustix::io::ioctl_fionread(&device) == Err(rustix::io::Errno::NOTTY)
    })
}

/// Its directory, a file without a name, and connections to others.
fn still_fetches() -> bool {
    let kept = std::fs::write("kept", b"x").and_then(|()| std::fs::rename("kept", "whole"));
    let nameless = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC);
    // Nobody listens on this port; that the answer comes from there is enough.
    let refused = std::net::TcpStream::connect("127.0.0.1:1").err().map(|error| error.kind());
    kept.is_ok() && nameless.is_ok() && refused == Some(std::io::ErrorKind::ConnectionRefused)
}

/// Threads, memory, time and inherited descriptors.
fn still_works() -> bool {
    let summed = std::thread::spawn(|| {
        let block = vec![1_u8; 64 << 20];
        block.iter().map(|byte| u64::from(*byte)).sum::<u64>()
    });
    let mut input = String::new();
    let read = std::io::stdin().read_to_string(&mut input).is_ok();
    std::thread::sleep(std::time::Duration::from_millis(1));
    read && input == "work" && summed.join().is_ok_and(|sum| sum == 64 << 20)
}
