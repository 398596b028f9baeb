//! `anchorhold image`: measurements.

use crate::exit::{Exit, Failure};
use crate::output;
use anchorhold_attester::software::measure_components;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What to do with an image.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the simulated launch digest of the software guest for these files
    ///
    /// Covers the names and contents of the files. This is what the software guest reports as its measurement. It is
    /// not the launch digest that SEV-SNP firmware computes, and no machine has it: of a real guest,
    /// `anchorhold evidence show` prints MEASUREMENT.
    #[command(
        after_help = "Example:\n  anchorhold image measure --component keeper=./keeper --component worker=./worker"
    )]
    Measure {
        /// A name and the file it stands for; repeat for each, in the order in which the guest lists them
        #[arg(long, value_name = "NAME=PATH", required = true)]
        component: Vec<Component>,
    },
}

/// `keeper=./keeper`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    name: String,
    path: PathBuf,
}

impl FromStr for Component {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err("wanted NAME=PATH"),
        }
    }
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    let Command::Measure { component } = command;
    let components: Vec<(&str, &Path)> =
        component.iter().map(|component| (component.name.as_str(), component.path.as_path())).collect();
    let measurement =
        measure_components(&components).map_err(|e| Failure::other(format!("cannot measure: {e}")))?;
    output::text(&format!("{measurement}\n"))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_a_name_and_a_path() {
        let component = Component { name: "keeper".into(), path: "a=b".into() };
        assert_eq!("keeper=a=b".parse(), Ok(component));
        for text in ["", "keeper", "=path", "keeper="] {
            assert!(text.parse::<Component>().is_err(), "{text}");
        }
    }
}
