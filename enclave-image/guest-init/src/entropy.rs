//! Where randomness comes from. The host has many ways to offer some, and knows what it offered.
//!
//! The kernel of a confidential guest stops when RDRAND gives nothing at its start (`arch/x86/coco/core.c`, `cc_random_init`). What it does not
//! refuse is a processor that is said to have no such instruction: it would wait for jitter that the host can time.

use anyhow::{Context as _, ensure};
use std::path::Path;

const CPUS: &str = "/proc/cpuinfo";
/// The instructions that give the processor's own randomness.
const INSTRUCTIONS: [&str; 2] = ["rdrand", "rdseed"];
/// Lists sources that a device or a hypervisor gives; it is there with the kernel's driver for them.
const SOURCES: &str = "/sys/class/misc/hw_random/rng_available";

/// # Errors
/// A processor lacks the instructions, or a device offers to be a source.
pub(crate) fn check() -> anyhow::Result<()> {
    processors_have_their_own(&std::fs::read_to_string(CPUS).context(CPUS)?)?;
    no_device_is_a_source(Path::new(SOURCES))
}

fn processors_have_their_own(cpus: &str) -> anyhow::Result<()> {
    let mut flags = cpus
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim() == "flags")
        .peekable();
    ensure!(flags.peek().is_some(), "{CPUS} names no processor");
    for (_, words) in flags {
        for wanted in INSTRUCTIONS {
            ensure!(
                words.split_ascii_whitespace().any(|word| word == wanted),
                "a processor without {wanted}"
            );
        }
    }
    Ok(())
}

fn no_device_is_a_source(list: &Path) -> anyhow::Result<()> {
    let Ok(sources) = std::fs::read_to_string(list) else { return Ok(()) };
    ensure!(sources.trim().is_empty(), "randomness is offered by {}", sources.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_44_every_processor_needs_randomness_of_its_own() {
        let cpu = |flags: &str| format!("processor\t: 0\nflags\t\t: fpu {flags} sse\nbugs\t\t: none\n\n");
        processors_have_their_own(&cpu("rdrand rdseed").repeat(2)).unwrap();
        for bad in [
            String::new(),
            cpu(""),
            cpu("rdrand"),
            cpu("rdseed"),
            cpu("rdrandx rdseed"),
            cpu("rdrand rdseed") + &cpu("rdrand"),
        ] {
            assert!(processors_have_their_own(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn case_44_a_source_that_the_host_gives_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("rng_available");
        no_device_is_a_source(&list).unwrap();
        std::fs::write(&list, "\n").unwrap();
        no_device_is_a_source(&list).unwrap();
        std::fs::write(&list, "virtio_rng.0 \n").unwrap();
        assert!(no_device_is_a_source(&list).unwrap_err().to_string().contains("virtio_rng.0"));
    }
}
