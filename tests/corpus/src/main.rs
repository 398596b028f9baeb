//! Writes the rejection suite to the folder that is named.

use anchorhold_corpus::{Suite, write_all};
use anyhow::Context as _;
use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: anchorhold-corpus FOLDER")?;
    let mut suite = Suite::default();
    write_all(&mut suite)?;
    let (cases, files) = suite.write(folder.as_ref())?;
    writeln!(std::io::stdout(), "{cases} cases, {files} files")?;
    Ok(())
}
