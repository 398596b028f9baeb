//! The least rate at which an answer must come.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use tokio::time::{Instant, timeout};

use crate::error::Fault;
use crate::limits::Limits;

/// Counts what came against the time that was spent waiting for it.
pub(super) struct Pace {
    window: Duration,
    least: u64,
    waited: Duration,
    came: u64,
}

impl Pace {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self { window: limits.pace_window, least: limits.pace_least, waited: Duration::ZERO, came: 0 }
    }

    /// The next bytes, or `None` at the end.
    pub(super) async fn next(
        &mut self,
        stream: &mut BoxStream<'static, Result<Bytes, Fault>>,
    ) -> Result<Option<Bytes>, Fault> {
        loop {
            let began = Instant::now();
            let left = self.window.saturating_sub(self.waited);
            match timeout(left, stream.next()).await {
                Ok(came) => {
                    self.waited = self.waited.saturating_add(began.elapsed());
                    let bytes = came.transpose()?;
                    self.came =
                        self.came.saturating_add(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
                    return Ok(bytes);
                }
                Err(_) if self.came < self.least => {
                    return Err(Fault::Slow { observed: self.came, wanted: self.least, within: self.window });
                }
                Err(_) => (self.waited, self.came) = (Duration::ZERO, 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    /// A stream of pieces of `len` bytes, one every `every`.
    fn drip(len: usize, every: Duration, count: usize) -> BoxStream<'static, Result<Bytes, Fault>> {
        let pieces = stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok(Bytes::from(vec![0; len]))
        });
        pieces.boxed()
    }

    const WINDOW: Duration = Duration::from_millis(400);
    /// Long enough for any machine, and far less than what these streams would take to their end.
    const SOON: Duration = Duration::from_secs(30);

    async fn read(mut stream: BoxStream<'static, Result<Bytes, Fault>>) -> Result<u64, Fault> {
        let limits = Limits { pace_window: WINDOW, pace_least: 1000, ..Limits::default() };
        let mut pace = Pace::new(&limits);
        let mut sum = 0;
        while let Some(bytes) = pace.next(&mut stream).await? {
            sum += bytes.len() as u64;
        }
        Ok(sum)
    }

    #[tokio::test]
    async fn case_21_one_byte_at_a_time_is_cut_after_one_window() {
        let began = Instant::now();
        let slow = read(drip(1, WINDOW / 10, usize::MAX)).await.unwrap_err();
        assert!(matches!(slow, Fault::Slow { observed: 0..=10, wanted: 1000, .. }), "{slow}");
        assert!((WINDOW..SOON).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn case_21_silence_is_cut_after_one_window() {
        let began = Instant::now();
        let slow = read(stream::pending().boxed()).await.unwrap_err();
        assert!(matches!(slow, Fault::Slow { observed: 0, .. }));
        assert!((WINDOW..SOON).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    /// Over more than two windows. A piece that is there is taken before the window is looked at, so a machine that stops for
    /// a while is no slow service.
    #[tokio::test]
    async fn what_keeps_the_least_rate_is_read_to_its_end() {
        assert_eq!(read(drip(1000, WINDOW / 20, 50)).await.unwrap(), 50_000);
    }
}
