//! The control groups of workers, and what workers met that their share ended at.

use crate::settings::Settings;
use anchorhold_confine::{Group, Met};
use anyhow::Context as _;

/// The group of one worker, and what of it is in the log.
pub(crate) struct Share {
    pub(crate) group: Group,
    told: Met,
}

impl Share {
    /// What was met since the last look; nothing if it is nothing.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(crate) fn look(&mut self) -> anyhow::Result<Option<Met>> {
        let met = self.group.met().context("the control group of a worker")?;
        let more = since(self.told, met);
        self.told = met;
        Ok((more != Met::default()).then_some(more))
    }
}

fn since(before: Met, now: Met) -> Met {
    Met {
        ended_for_memory: now.ended_for_memory.saturating_sub(before.ended_for_memory),
        refused_pids: now.refused_pids.saturating_sub(before.refused_pids),
    }
}

/// A group for each model, made before the keeper gives up the paths to them; or why there are none, for whoever asks what holds a worker.
pub(crate) fn prepare(settings: &Settings) -> Result<Vec<Share>, String> {
    let Some(wanted) = &settings.worker.group else { return Err("none is set".to_owned()) };
    let made = Group::create(settings.models.len(), &wanted.share(settings.worker.threads));
    let share = |group: Group| {
        // What a group from a start before met is in that start's log.
        let told = group.met().unwrap_or_default();
        Share { group, told }
    };
    made.map(|groups| groups.into_iter().map(share).collect()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let met = |ended_for_memory, refused_pids| Met { ended_for_memory, refused_pids };
        assert_eq!(since(met(1, 5), met(2, 5)), met(1, 0));
        assert_eq!(since(met(1, 5), met(0, 0)), Met::default(), "a group that was made anew");
    }
}
