//! Writes and syncs in a thread of their own.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

/// How many writes may wait for the one under way.
const MAX_QUEUED: usize = 2;

/// What is appended to a file and made durable.
struct Job {
    file: Arc<File>,
    bytes: Vec<u8>,
}

impl Job {
    /// The file is the one that was written through before, so an error of the medium since then is told here as it would be there.
    fn carry_out(self) -> io::Result<Vec<u8>> {
        let mut file = &*self.file;
        if !self.bytes.is_empty() {
            file.write_all(&self.bytes)?;
        }
        file.sync_data()?;
        Ok(self.bytes)
    }
}

/// Writes beside other work, one after the other, in a thread that the first of them starts.
#[derive(Debug, Default)]
pub(super) struct Beside {
    writer: Option<Writer>,
    /// Results that were looked for and not yet asked for.
    ended: VecDeque<io::Result<Vec<u8>>>,
}

/// A thread that writes until a write fails.
#[derive(Debug)]
struct Writer {
    /// `None` only while it is dropped, which ends the thread.
    jobs: Option<SyncSender<Job>>,
    results: Receiver<io::Result<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    pub(super) fn begin(&mut self, file: &Arc<File>, bytes: Vec<u8>) -> io::Result<()> {
        let job = Job { file: Arc::clone(file), bytes };
        if self.writer.is_none() {
            self.writer = Writer::start().ok();
        }
        match &self.writer {
            Some(writer) => writer.begin(job),
            // Where no thread can be had, the caller waits.
            None => {
                self.ended.push_back(Ok(job.carry_out()?));
                Ok(())
            }
        }
    }

    pub(super) fn end(&mut self) -> io::Result<Vec<u8>> {
        let received = || self.writer.as_ref().and_then(|writer| writer.results.recv().ok());
        self.ended.pop_front().or_else(received).unwrap_or_else(|| Err(gone()))
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if self.ended.is_empty()
            && let Some(writer) = &self.writer
        {
            match writer.results.try_recv() {
                Ok(result) => self.ended.push_back(result),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.ended.push_back(Err(gone())),
            }
        }
        !self.ended.is_empty()
    }
}

impl Writer {
    fn start() -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(MAX_QUEUED);
        let (ended, results) = sync_channel(MAX_QUEUED + 1);
        let thread = std::thread::Builder::new().name("audit-sync".to_owned()).spawn(move || {
            while let Ok(job) = waiting.recv() {
                let result = job.carry_out();
                let has_failed = result.is_err();
                if ended.send(result).is_err() || has_failed {
                    break;
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), results, thread: Some(thread) })
    }

    fn begin(&self, job: Job) -> io::Result<()> {
        if self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok()) {
            return Ok(());
        }
        // Only a failure ends the thread, and it is the cause of this one.
        Err(self.results.iter().find_map(Result::err).unwrap_or_else(gone))
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that makes entries durable is gone")
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}
