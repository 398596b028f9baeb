//! The words with which Intel judges a TCB.

use std::fmt;

/// The status of a TCB, from best to worst. The words are Intel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcbStatus {
    /// Nothing is missing.
    UpToDate,
    /// Software in the TD must mitigate something.
    SwHardeningNeeded,
    /// The platform needs another configuration.
    ConfigurationNeeded,
    /// Both.
    ConfigurationAndSwHardeningNeeded,
    /// The TD was launched below an old TDX module that was updated since; the TD must be launched again.
    TdRelaunchAdvised,
    /// The same, and the platform needs another configuration.
    TdRelaunchAdvisedConfigurationNeeded,
    /// Updates are missing.
    OutOfDate,
    /// Updates are missing, and the platform needs another configuration.
    OutOfDateConfigurationNeeded,
    /// Keys are compromised.
    Revoked,
}

impl TcbStatus {
    /// The word that Intel writes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
        }
    }

    /// The status with this word, also those that no collateral writes.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let about_relaunch = [Self::TdRelaunchAdvised, Self::TdRelaunchAdvisedConfigurationNeeded];
        Self::from_word(word).or(about_relaunch.into_iter().find(|status| status.word() == word))
    }

    /// The status that Intel's collateral writes with this word. The two about relaunch are no words of collateral.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        const WRITTEN: [TcbStatus; 7] = [
            TcbStatus::UpToDate,
            TcbStatus::SwHardeningNeeded,
            TcbStatus::ConfigurationNeeded,
            TcbStatus::ConfigurationAndSwHardeningNeeded,
            TcbStatus::OutOfDate,
            TcbStatus::OutOfDateConfigurationNeeded,
            TcbStatus::Revoked,
        ];
        WRITTEN.into_iter().find(|status| status.word() == word)
    }

    /// Whether updates are missing.
    #[must_use]
    pub const fn is_out_of_date(self) -> bool {
        matches!(self, Self::OutOfDate | Self::OutOfDateConfigurationNeeded)
    }

    const fn needs_configuration(self) -> bool {
        matches!(
            self,
            Self::ConfigurationNeeded
                | Self::ConfigurationAndSwHardeningNeeded
                | Self::TdRelaunchAdvisedConfigurationNeeded
                | Self::OutOfDateConfigurationNeeded
        )
    }

    const fn needs_hardening(self) -> bool {
        matches!(self, Self::SwHardeningNeeded | Self::ConfigurationAndSwHardeningNeeded)
    }

    /// The status of a platform with a part (TDX module or quoting enclave) of status `part`, neither about relaunch.
    ///
    /// As Intel's quote verification library (`convergeTcbStatusWithQeTcbStatus`): a part that is out of date or revoked
    /// makes the whole so, and missing updates hide that hardening is needed. Beyond that library, a part that needs
    /// configuration or hardening makes the whole need it too.
    pub(super) fn with_part(self, part: Self) -> Self {
        if self == Self::Revoked || part == Self::Revoked {
            return Self::Revoked;
        }
        let configuration = self.needs_configuration() || part.needs_configuration();
        let hardening = self.needs_hardening() || part.needs_hardening();
        match (self.is_out_of_date() || part.is_out_of_date(), configuration, hardening) {
            (true, false, _) => Self::OutOfDate,
            (true, true, _) => Self::OutOfDateConfigurationNeeded,
            (false, false, false) => Self::UpToDate,
            (false, false, true) => Self::SwHardeningNeeded,
            (false, true, false) => Self::ConfigurationNeeded,
            (false, true, true) => Self::ConfigurationAndSwHardeningNeeded,
        }
    }

    /// The status of a TD that was launched with `self` and runs with `current`.
    ///
    /// As Intel's `checkForRelaunch`: launched out of date and now not is a relaunch that is advised. Beyond it, a current
    /// status that is worse than that of the launch counts.
    pub(super) fn now(self, current: Self) -> Self {
        if !self.is_out_of_date() || current.is_out_of_date() || current == Self::Revoked {
            return self.with_part(current);
        }
        if self.needs_configuration() || current.needs_configuration() {
            Self::TdRelaunchAdvisedConfigurationNeeded
        } else {
            Self::TdRelaunchAdvised
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::TcbStatus::{self, *};

    #[test]
    fn parts_converge_as_in_intels_library() {
        for (platform, part, wanted) in [
            (UpToDate, UpToDate, UpToDate),
            (UpToDate, OutOfDate, OutOfDate),
            (SwHardeningNeeded, OutOfDate, OutOfDate),
            (ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (ConfigurationAndSwHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (OutOfDateConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (OutOfDate, UpToDate, OutOfDate),
            (SwHardeningNeeded, UpToDate, SwHardeningNeeded),
            (ConfigurationAndSwHardeningNeeded, UpToDate, ConfigurationAndSwHardeningNeeded),
            (ConfigurationNeeded, Revoked, Revoked),
            (Revoked, UpToDate, Revoked),
            (UpToDate, ConfigurationNeeded, ConfigurationNeeded),
        ] {
            assert_eq!(platform.with_part(part), wanted, "{platform} with {part}");
        }
    }

    #[test]
    fn relaunch_is_advised_only_when_an_update_came_after_an_outdated_launch() {
        for (launch, current, wanted) in [
            (OutOfDate, UpToDate, TdRelaunchAdvised),
            (OutOfDate, SwHardeningNeeded, TdRelaunchAdvised),
            (OutOfDate, ConfigurationNeeded, TdRelaunchAdvisedConfigurationNeeded),
            (OutOfDateConfigurationNeeded, UpToDate, TdRelaunchAdvisedConfigurationNeeded),
            (OutOfDate, OutOfDate, OutOfDate),
            (OutOfDate, Revoked, Revoked),
            (UpToDate, UpToDate, UpToDate),
            (UpToDate, OutOfDate, OutOfDate),
            (ConfigurationNeeded, UpToDate, ConfigurationNeeded),
        ] {
            assert_eq!(launch.now(current), wanted, "{launch} now {current}");
        }
    }

    #[test]
    fn no_combination_is_better_than_either() {
        let all = [
            UpToDate,
            SwHardeningNeeded,
            ConfigurationNeeded,
            ConfigurationAndSwHardeningNeeded,
            OutOfDate,
            OutOfDateConfigurationNeeded,
            Revoked,
        ];
        for a in all {
            for b in all {
                assert!(a.with_part(b) >= a.max(b), "{a} with {b}");
                assert_eq!(a.with_part(b), b.with_part(a), "{a} with {b}");
                assert!(a.now(b) >= b, "{a} now {b}");
            }
            assert_eq!(TcbStatus::from_word(a.word()), Some(a));
            assert_eq!(TcbStatus::named(a.word()), Some(a));
        }
        for word in ["", "uptodate", "UpToDate ", "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded"]
        {
            assert_eq!(TcbStatus::from_word(word), None, "{word}");
            let named = TcbStatus::named(word).map(TcbStatus::word);
            assert_eq!(named, word.starts_with("TD").then_some(word));
        }
    }
}
