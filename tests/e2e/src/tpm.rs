//! A TPM for a guest in a virtual machine: the emulator `swtpm`, whose state outlives boots as a chip's does.

use anchorhold_attester::device::tpm::Tpm;
use anchorhold_measure::boot::{Boot, events};
use anchorhold_measure::tpm;
use anchorhold_verifier::tpm::{KeyName, Policy};
use anyhow::Context as _;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A TPM that is off.
#[derive(Debug)]
pub struct EmulatedTpm {
    program: PathBuf,
    state: PathBuf,
    /// The key with which it quotes.
    pub key: KeyName,
}

/// The emulator while it runs. It ends when this value is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where it is controlled.
    pub control: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl EmulatedTpm {
    /// Makes a TPM with its state in this directory, and asks it for its key.
    pub fn make(program: &Path, state: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir(state)?;
        let (ours, theirs) = UnixStream::pair()?;
        let more =
            ["--fd", &inherited(&theirs)?, "--flags", "not-need-init,startup-clear"].map(str::to_owned);
        let child = start(program, state, &more)?;
        drop(theirs);
        let _running = Running { child, control: PathBuf::new() };
        let quote = Tpm::new(ours).quote(&[0], &[]).context("asking the emulated TPM for its key")?;
        Ok(Self { program: program.to_owned(), state: state.to_owned(), key: KeyName::of(&quote.key) })
    }

    /// Turns it on for a machine that is started with it. QEMU may connect from now on.
    pub fn turn_on(&self) -> anyhow::Result<Running> {
        let control = self.state.join("control");
        let _ = std::fs::remove_file(&control);
        let listener = UnixListener::bind(&control)?;
        let more = ["--ctrl".to_owned(), format!("type=unixio,fd={}", inherited(&listener)?)];
        Ok(Running { child: start(&self.program, &self.state, &more)?, control })
    }

    /// Accepts quotes of this TPM after a boot of exactly these files.
    pub fn policy(&self, boot: &Boot<'_>) -> anyhow::Result<Policy> {
        let events = events(boot)?;
        let value = |pcr: u32| Ok((u8::try_from(pcr)?, vec![tpm::pcr_sha256(&events, pcr)]));
        let pcrs = tpm::PREDICTED.into_iter().map(value).collect::<anyhow::Result<_>>()?;
        Ok(Policy::strict(vec![self.key], pcrs))
    }
}

/// The number of a descriptor that children inherit.
fn inherited(descriptor: &(impl AsFd + AsRawFd)) -> anyhow::Result<String> {
    rustix::io::fcntl_setfd(descriptor.as_fd(), rustix::io::FdFlags::empty())?;
    Ok(descriptor.as_raw_fd().to_string())
}

fn start(program: &Path, state: &Path, more: &[String]) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command.args(["socket", "--tpm2", "--tpmstate"]).arg(format!("dir={}", state.display())).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().with_context(|| program.display().to_string())
}

/// The table `[grant.tpm]` of a release policy, TOML.
#[must_use]
pub fn grant(policy: &Policy) -> String {
    let pcrs = policy.pcrs.iter().flat_map(|(pcr, values)| values.iter().map(move |value| (pcr, value)));
    let pcrs: Vec<_> =
        pcrs.map(|(pcr, value)| format!("{pcr} = [\"sha256:{}\"]", anchorhold_rats::hex(value))).collect();
    let keys: Vec<_> = policy.keys.iter().map(|key| format!("\"{key}\"")).collect();
    format!(
        "\n[grant.tpm]\nkeys = [{}]\npcrs = {{ {} }}\nrequire_event_log = {}\n",
        keys.join(", "),
        pcrs.join(", "),
        policy.require_event_log
    )
}
