//! Switches of the kernel that the command line cannot set, each with its reason.

use anyhow::{Context as _, ensure};
use std::path::{Path, PathBuf};

const FILES: &str = "/proc/sys";

/// Name, value and why. All are set before anything but this program runs, and held against what the kernel then says.
const TABLE: &[(&str, &str, &str)] = &[
    ("fs.suid_dumpable", "0", "memory of a process that changed its rights is not written out"),
    ("kernel.dmesg_restrict", "1", "the kernel's log names addresses and devices"),
    ("kernel.kptr_restrict", "2", "addresses of the kernel help whoever attacks it"),
    ("kernel.perf_event_paranoid", "4", "no counters that measure what another process does"),
    ("kernel.yama.ptrace_scope", "3", "no process reads another's memory; cannot be set back"),
    ("kernel.ctrl-alt-del", "0", "the host's keyboard ends the guest otherwise without giving back leases"),
    ("kernel.panic_on_oops", "1", "a kernel that has failed once is not trusted with keys"),
    ("kernel.panic", "-1", "a guest that panicked ends at once and is not left to be looked at"),
    ("kernel.randomize_va_space", "2", "addresses differ from one start of a program to the next"),
    (
        "kernel.printk",
        "1 1 1 1",
        "after the boot only the kernel's last words reach the console, which the host reads",
    ),
    ("vm.mmap_min_addr", "65536", "a null pointer of the kernel's points to nothing"),
    ("vm.overcommit_memory", "0", "the kernel's own guess; memory is limited by control groups"),
    ("dev.tty.ldisc_autoload", "0", "no line disciplines are loaded for a terminal"),
    ("net.core.bpf_jit_harden", "2", "constants of filters are not left as code"),
    ("net.ipv4.conf.all.accept_redirects", "0", "the host's network does not change routes"),
    ("net.ipv4.conf.default.accept_redirects", "0", "as above"),
    ("net.ipv4.conf.all.accept_source_route", "0", "as above"),
    ("net.ipv4.conf.all.send_redirects", "0", "this guest is no router"),
    ("net.ipv4.ip_forward", "0", "this guest is no router"),
    ("net.ipv4.tcp_syncookies", "1", "half-open connections do not fill the listener's queue"),
    ("user.max_user_namespaces", "64", "the processes of the guest make a few; nobody makes many"),
];

/// Switches of what the kernel is built without (`enclave-image/kernel/base.config`). Where one is there all the same, it is set and held
/// like the others.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("kernel.modules_disabled", "1", "no code enters the kernel any more (`modules`); cannot be set back"),
    ("kernel.kexec_load_disabled", "1", "no other kernel is started from this one; cannot be set back"),
    ("kernel.core_pattern", "|/bin/false", "no core file, and no helper that the kernel would run for one"),
    ("kernel.core_pipe_limit", "0", "as above"),
    ("kernel.unprivileged_bpf_disabled", "2", "no programs for the kernel's interpreter"),
    ("kernel.sysrq", "0", "the host's keyboard and serial BREAK command the kernel otherwise"),
    ("kernel.io_uring_disabled", "2", "system calls that seccomp does not see one by one"),
    ("vm.unprivileged_userfaultfd", "0", "page faults that a process times are a common part of attacks"),
    (
        "net.ipv6.conf.all.disable_ipv6",
        "1",
        "addresses are fixed IPv4; what advertises routers is the host's",
    ),
    ("net.ipv6.conf.default.disable_ipv6", "1", "as above"),
];

fn file(name: &str) -> PathBuf {
    Path::new(FILES).join(name.replace('.', "/"))
}

fn set(name: &str, value: &str) -> anyhow::Result<()> {
    std::fs::write(file(name), value).with_context(|| format!("setting {name}"))
}

/// Sets all that do not have their value yet: some cannot be written twice.
pub(crate) fn set_all() -> anyhow::Result<()> {
    wanted().filter(|(name, value)| !has(name, value)).try_for_each(|(name, value)| set(name, value))
}

/// # Errors
/// One of them has another value.
pub(crate) fn check() -> anyhow::Result<()> {
    wanted().try_for_each(|(name, value)| {
        ensure!(has(name, value), "{name} is not {value}");
        Ok(())
    })
}

/// Names and values that must hold in this kernel.
fn wanted() -> impl Iterator<Item = (&'static str, &'static str)> {
    let present = LEFT_OUT.iter().filter(|(name, ..)| !matches!(file(name).try_exists(), Ok(false)));
    TABLE.iter().chain(present).map(|&(name, value, _)| (name, value))
}

fn has(name: &str, value: &str) -> bool {
    std::fs::read_to_string(file(name)).is_ok_and(|text| same(&text, value))
}

/// The kernel separates numbers by tabs.
fn same(text: &str, value: &str) -> bool {
    text.split_ascii_whitespace().eq(value.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_switch_stands_once_and_has_a_reason() {
        let switches = || TABLE.iter().chain(LEFT_OUT);
        let names: BTreeSet<_> = switches().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), switches().count());
        assert!(
            switches().all(|(name, value, why)| !value.is_empty()
                && !why.is_empty()
                && file(name).starts_with(FILES))
        );
    }

    #[test]
    fn values_are_compared_word_by_word() {
        assert!(same("1\t1\t1\t1\n", "1 1 1 1"));
        assert!(!same("1\t4\t1\t7\n", "1 1 1 1"));
        assert!(!same("10\n", "1"));
    }
}
