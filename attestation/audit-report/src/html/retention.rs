//! What is kept, what is gone and why: the acts of archives, out of their own logs.

use super::Report;
use super::sections::{code_cell, number, short, time};
use super::text::Html;
use crate::time::utc;
use anchorhold_audit_log::{Entry, EventType, Keeping};

pub(super) fn retention(html: &mut Html, report: &Report<'_>) {
    html.raw("<h2>Retention and erasures</h2>");
    let sealed: u64 = report.logs.iter().map(|log| log.summary.sealed()).sum();
    html.element(
        "p",
        format!(
            "{sealed} entries have a sealed personal part. Until its key is destroyed, that is personal data (GDPR, article 4(5)); \
            afterwards nobody reads it, and the entry's proof is the same."
        ),
    );
    for log in report.logs.iter().filter(|log| log.first > 0) {
        html.element("p", format!("{}: entries before {} are not here.", short(log), log.first));
    }
    if report.logs.iter().all(|log| log.summary.kept().0.is_empty()) {
        html.raw("<p>No archive's log is among these logs, so they say nothing of what was pruned, held or erased.</p>");
        return;
    }
    html.table(&["log", "entry", "time", "act", "why", "what"], |html| {
        for log in report.logs {
            for entry in log.summary.kept().0 {
                html.raw("<tr>");
                html.element("td", short(log));
                number(html, entry.seq);
                time(html, entry.t);
                code_cell(html, entry.kind.name());
                html.element("td", &entry.code);
                html.element("td", entry.keep.as_ref().map(|keep| what(entry, keep)).unwrap_or_default());
                html.raw("</tr>");
            }
        }
    });
    let beyond: u64 = report.logs.iter().map(|log| log.summary.kept().1).sum();
    if beyond > 0 {
        html.element("p", format!("{beyond} more such acts are in the logs."));
    }
}

fn what(entry: &Entry, keep: &Keeping) -> String {
    let mut parts = Vec::new();
    parts.extend(keep.hold.as_ref().map(|hold| format!("hold {hold}")));
    parts.extend(keep.origin.as_ref().map(|origin| format!("log {origin}")));
    parts.extend(keep.first.zip(keep.end).map(|(first, end)| format!("entries {first} to {end} gone")));
    parts.extend(keep.size.map(|size| format!("of {size}")));
    parts.extend((!keep.profiles.is_empty()).then(|| {
        let names: Vec<&str> = keep.profiles.iter().map(|profile| profile.as_str()).collect();
        format!("by {}", names.join(", "))
    }));
    parts.extend(keep.tenant.as_ref().map(|tenant| format!("tenant {tenant}")));
    parts.extend(keep.since.map(|since| format!("from {}", utc(since))));
    let until = if entry.kind == EventType::LogArchive { "cosigned" } else { "before" };
    parts.extend(keep.until.map(|at| format!("{until} {}", utc(at))));
    parts.extend(keep.kid.map(|kid| format!("key {kid} destroyed")));
    parts.join(", ")
}
