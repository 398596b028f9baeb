//! The same start, refused: one line for each reason.

use super::show::Show;
use anchorhold_e2e::refusals::CASES;

/// Shows every refusal; fails when a start is not refused as it must be.
pub(crate) fn run(show: &Show) -> anyhow::Result<()> {
    show.banner();
    for case in CASES {
        let refusal = case.run()?;
        // Who refused and the code stand before the text already.
        let (_, why) = refusal.text.split_once(&format!("{}: ", refusal.code)).unwrap_or(("", &refusal.text));
        show.line(&format!("refused  {:<34} by the {}, {}: {why}", case.name, refusal.by, refusal.code));
    }
    Ok(())
}
