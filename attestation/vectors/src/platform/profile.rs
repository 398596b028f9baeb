//! The appraisal profile of a case, for rules that a manifest has no key for.

use crate::corpus::{Error, Files};
use anchorhold_appraisal_policy::AppraisalProfile;

/// The profile in the file of role `profile`, when there is one.
pub(super) fn read(files: &Files) -> Result<Option<AppraisalProfile>, Error> {
    let wrong = || Error::Form { what: "profile", wanted: "an appraisal profile" };
    files
        .get("profile")
        .map(|bytes| {
            let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
            AppraisalProfile::from_toml(text).map_err(|_| wrong())
        })
        .transpose()
}
