//! How the page looks, and the policy that lets nothing else in.

use anchorhold_audit_log::Hash;
use base64::Engine as _;

/// The style sheet. It prints on paper as it shows on a screen.
pub(super) const SHEET: &str = "\
:root{--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--good:#116329;--bad:#a40e26;--note:#7d4e00;--wash:#f6f8fa}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2.5rem 1.5rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .3rem;letter-spacing:-.01em}
h2{font-size:1.2rem;margin:2.6rem 0 .6rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
p{margin:.4rem 0}
.soft{color:var(--soft)}
.box{border:1px solid var(--line);border-left:6px solid var(--soft);border-radius:6px;padding:.9rem 1.1rem;margin:1rem 0;background:var(--wash)}
.box.good{border-left-color:var(--good)}.box.bad{border-left-color:var(--bad)}.box.note{border-left-color:var(--note)}
.box strong{font-size:1.1rem}
table{border-collapse:collapse;width:100%;margin:.6rem 0;font-size:.93rem}
th{text-align:left;font-weight:600;color:var(--soft);border-bottom:2px solid var(--line);padding:.35rem .6rem .35rem 0;vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:.35rem .6rem .35rem 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child{min-width:9rem}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;padding-right:1.4rem}
td.t{white-space:nowrap}
code,pre{font:.86em/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
code{overflow-wrap:anywhere}
pre{background:var(--wash);border:1px solid var(--line);border-radius:6px;padding:.7rem .9rem;white-space:pre-wrap;overflow-wrap:anywhere;margin:.4rem 0 1rem}
.passed{color:var(--good)}.failed{color:var(--bad);font-weight:600}.noted{color:var(--note)}.not_applicable{color:var(--soft)}
a{color:inherit}
@media print{main{padding:0;max-width:none}h2{break-after:avoid}tr,pre,.box{break-inside:avoid}}
";

/// The policy as an element of the head: nothing is loaded, nothing runs, and only this style sheet applies.
pub(super) fn policy() -> String {
    let digest = base64::engine::general_purpose::STANDARD.encode(Hash::of(SHEET.as_bytes()).as_bytes());
    format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'; \
         base-uri 'none'; form-action 'none'\">"
    )
}
