//! The command line, read by hand: a parser of a library would be most of the program.

use anchorhold_dossier::MAX_LOGS;
use anchorhold_rats::{Ed25519PublicKey, Measurement, Timestamp};
use std::ffi::OsString;

pub(crate) const HELP: &str = "\
Check an audit dossier, or the bundles of logs, offline: every question gets a verdict of its own

Usage: anchorhold-audit FILE.. [FLAGS]

  --measurement HEX     a launch digest that is accepted; may be repeated
  --min-tcb PRODUCT=N,..  the lowest TCB of an AMD product that is accepted; may be repeated
  --profile FILE        an appraisal profile, TOML, instead of measurements
  --at TIME             the time for which certificates are judged where no witness says when it had seen the evidence,
                        such as 2026-01-31T12:00:00Z
  --log-key KEY         the note key of a log without evidence, a key broker's; may be repeated
  --exporter HEX        a key that may have signed the dossier; may be repeated
  --witnesses FILE      which witnesses must have cosigned, and whose times are believed (c2sp.org/tlog-policy)
  --json                the report as JSON
  --dangerous-simulated-root FILE  trust these roots (PEM), which protect nothing, instead of the vendors'

Exit codes: 0 accepted, 1 a file cannot be read, 2 usage, 3 not authentic, 4 not acceptable,
5 endorsements unavailable, 6 not proven
";

/// The most values of one repeated flag.
const MAX_VALUES: usize = 256;

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) files: Vec<String>,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) min_tcb: Vec<String>,
    pub(crate) profile: Option<String>,
    pub(crate) at: Option<Timestamp>,
    pub(crate) log_keys: Vec<String>,
    pub(crate) exporters: Vec<Ed25519PublicKey>,
    pub(crate) witnesses: Option<String>,
    pub(crate) simulated_root: Option<String>,
    pub(crate) json: bool,
}

impl Arguments {
    /// Reads the command line; `None` when help was asked for.
    pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut words =
            words.map(|word| word.into_string().map_err(|_| "an argument is not text".to_owned()));
        let mut arguments = Self::default();
        while let Some(word) = words.next().transpose()? {
            let mut value = || words.next().transpose()?.ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--json" => arguments.json = true,
                "--measurement" => push(&mut arguments.measurements, parsed(&word, &value()?)?)?,
                "--min-tcb" => push(&mut arguments.min_tcb, value()?)?,
                "--log-key" => push(&mut arguments.log_keys, value()?)?,
                "--exporter" => push(&mut arguments.exporters, parsed(&word, &value()?)?)?,
                "--at" => once(&word, &mut arguments.at, parsed(&word, &value()?)?)?,
                "--profile" => once(&word, &mut arguments.profile, value()?)?,
                "--witnesses" => once(&word, &mut arguments.witnesses, value()?)?,
                "--dangerous-simulated-root" => once(&word, &mut arguments.simulated_root, value()?)?,
                flag if flag.starts_with('-') => return Err(format!("there is no flag {flag}; see --help")),
                _ if arguments.files.len() < MAX_LOGS => arguments.files.push(word),
                _ => return Err(format!("more than {MAX_LOGS} files")),
            }
        }
        match arguments.files.as_slice() {
            [] => Err("which file? see --help".to_owned()),
            _ => Ok(Some(arguments)),
        }
    }
}

fn parsed<T: std::str::FromStr<Err: ToString>>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error: T::Err| format!("{flag}: {}", error.to_string()))
}

fn push<T>(values: &mut Vec<T>, value: T) -> Result<(), String> {
    if values.len() == MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values of one flag"));
    }
    values.push(value);
    Ok(())
}

fn once<T>(flag: &str, place: &mut Option<T>, value: T) -> Result<(), String> {
    if place.replace(value).is_some() { Err(format!("{flag} twice")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at a surprise")]

    use super::*;

    fn parse(line: &str) -> Result<Option<Arguments>, String> {
        Arguments::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn reads_flags_and_files() {
        let arguments =
            parse("a.tar --at 2026-01-31T12:00:00Z --json --log-key k1 --log-key k2").unwrap().unwrap();
        assert_eq!((arguments.json, arguments.log_keys.len()), (true, 2));
        assert_eq!(arguments.files, ["a.tar"]);
        assert_eq!(parse("a.tar --json b.tar").unwrap().unwrap().files, ["a.tar", "b.tar"]);
        assert!(parse(&"a.tar ".repeat(257)).is_err());
        assert!(arguments.at.is_some() && arguments.profile.is_none());
        assert!(parse("--help a.tar").unwrap().is_none());
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for line in [
            "",
            "--json",
            "a.tar --at",
            "a.tar --at now",
            "a.tar --network",
            "a.tar --at x --at y",
            "a.tar --measurement 00",
            "a.tar --exporter zz",
            "a.tar --profile p --profile q",
            "a.tar --json=1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
