//! The places at which a crash may come: before each step that changes the medium. Tests have it come at each of them in turn.

use std::io;

#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// How many steps succeed before one fails; all of them when `None`.
    #[cfg(test)]
    left: std::cell::Cell<Option<u32>>,
}

impl Steps {
    #[cfg(test)]
    pub(crate) fn fail_after(&self, steps: u32) {
        self.left.set(Some(steps));
    }

    /// Goes on to the next step.
    pub(crate) fn next(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(left) = self.left.get() {
            let left = left.checked_sub(1).ok_or_else(|| io::Error::other("the power went"))?;
            self.left.set(Some(left));
        }
        Ok(())
    }
}
