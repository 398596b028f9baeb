//! The programs of the workspace, and processes that end with the value that holds them.

use anyhow::{Context as _, bail, ensure};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Where the built programs lie.
#[derive(Debug, Clone)]
pub struct Programs(PathBuf);

impl Programs {
    /// The directory of this executable, or the one above when it is a test.
    pub fn beside_this_one() -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let mut directory = own.parent().context("no directory")?;
        if directory.ends_with("deps") {
            directory = directory.parent().context("no directory")?;
        }
        let programs = Self(directory.to_owned());
        for name in ["anchorhold", "anchorhold-keeper", "anchorhold-gateway", "anchorhold-worker"] {
            ensure!(
                programs.path(name).is_file(),
                "{} is not built: run `make build`",
                programs.path(name).display()
            );
        }
        Ok(programs)
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// The path of one program.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs a program to its end, however that is.
    pub fn output(&self, name: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> anyhow::Result<Output> {
        Command::new(self.path(name))
            .args(arguments.iter().map(AsRef::as_ref))
            .stdin(Stdio::null())
            .output()
            .with_context(|| name.to_owned())
    }

    /// Runs a program to its end, which must be a good one, and gives back what it printed.
    pub fn run(&self, name: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> anyhow::Result<String> {
        let output = self.output(name, arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{name} ended with {}: {}{text}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(text)
    }
}

/// A running process whose standard output is read line by line and whose standard error goes to a file. It is killed
/// when this value is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command` with its standard error in `stderr`.
    pub fn start(mut command: Command, stderr: &Path) -> anyhow::Result<Self> {
        let log = std::fs::File::create(stderr)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, stderr: stderr.to_owned() })
    }

    /// The next line of standard output; `None` when there will be no more.
    pub fn line(&self, within: Duration) -> anyhow::Result<Option<String>> {
        match self.lines.recv_timeout(within) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("no word within {} s: {}", within.as_secs(), self.stderr_text())
            }
        }
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        // One that has already ended cannot be killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < until,
                "still runs after {} s: {}",
                within.as_secs(),
                self.stderr_text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
