//! `anchorhold evidence show`.

use super::input::InputArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, plain};
use anchorhold_evaluation::describe;
use std::fmt::Write as _;

pub(super) fn run(input: &InputArgs, format: Format) -> Result<Exit, Failure> {
    let bundle = input.read()?;
    let parts = describe(&bundle).map_err(|refusal| Failure::other(format!("cannot be read: {refusal}")))?;
    if format.json {
        output::json(&parts)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::from("what the evidence says; nothing of it was judged\n");
    for part in &parts {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\n{}", plain(&part.name));
        for field in &part.fields {
            let _ = writeln!(out, "  {:24} {}", plain(&field.name), plain(&field.value));
        }
    }
    output::text(&out)?;
    Ok(Exit::Ok)
}
