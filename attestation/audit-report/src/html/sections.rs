//! The parts of the page, in their order.

use super::text::Html;
use super::{Judged, LogPart, Report};
use crate::controls::Control;
use crate::summary::outcome_name;
use crate::time::utc;
use anchorhold_audit_log::Entry;

pub(super) fn heading(html: &mut Html, report: &Report<'_>) {
    html.raw("<h1>Audit report</h1><p class=\"soft\">");
    let times = report.logs.iter().filter_map(|log| log.summary.times());
    let period = times.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)));
    let entries: u64 = report.logs.iter().map(|log| log.summary.entries()).sum();
    html.text(format!(
        "{} of {}",
        count(entries, "entry", "entries"),
        count(report.logs.len() as u64, "log", "logs")
    ));
    if let Some((first, last)) = period {
        html.text(format!(", from {} to {} by the guests' own clocks", utc(first), utc(last)));
    }
    html.raw("</p>");
    if let Some(scope) = report.scope {
        html.raw("<p class=\"soft\">Only entries with: ");
        html.text(scope);
        html.raw(". The verdicts are on the whole of each log.</p>");
    }
}

pub(super) fn verdicts(html: &mut Html, report: &Report<'_>) {
    let refused = report.logs.iter().filter(|log| !log.is_accepted()).count();
    let simulated = report.logs.iter().any(|log| log.simulated);
    let class = match (refused, simulated) {
        (0, false) => "good",
        (0, true) => "note",
        _ => "bad",
    };
    html.raw("<div class=\"box ");
    html.raw(class);
    html.raw("\"><strong>");
    if refused == 0 {
        html.text("Every log is complete for its range, unchanged and signed by its key");
    } else {
        html.text(format!(
            "{refused} of {} logs prove nothing: do not rely on what this report says of them",
            report.logs.len()
        ));
    }
    html.raw("</strong>");
    if simulated {
        html.raw("<p>Evidence is <b>simulated</b>: its root is published, so it shows the form of a proof and protects nothing.</p>");
    }
    html.raw("</div>");
    for (at, log) in report.logs.iter().enumerate() {
        html.raw("<h3>");
        html.text(&log.origin);
        html.raw("</h3>");
        verdict_table(html, &log.judged);
        let (passed, failed) = (of(&log.evidence, "passed"), of(&log.evidence, "failed"));
        if log.evidence.is_empty() {
            html.raw("<p class=\"soft\">No evidence was judged.</p>");
        } else {
            html.element(
                "p",
                format!(
                    "Evidence that the log's key is a guest's: {} rules passed, {} failed.",
                    passed.len(),
                    failed.len()
                ),
            );
        }
        if !failed.is_empty() {
            verdict_table(html, &failed);
        }
        if let Some(drawn) = &log.drawn {
            html.raw("<p>Sample: ");
            html.text(format!(
                "{} of {} entries, drawn with the word ",
                drawn.indexes.len(),
                drawn.population
            ));
            html.element("code", &drawn.word);
            html.raw(": ");
            for index in &drawn.indexes {
                link(html, at, *index);
                html.raw(" ");
            }
            html.raw("</p>");
        }
    }
}

fn of(judged: &[Judged], status: &str) -> Vec<Judged> {
    judged.iter().filter(|judged| judged.status == status).cloned().collect()
}

fn verdict_table(html: &mut Html, judged: &[Judged]) {
    html.table(&["question", "answer", "found"], |html| {
        for judged in judged {
            html.raw("<tr>");
            html.element("td", judged.check.replace('_', " "));
            html.raw("<td class=\"");
            html.raw(status_class(&judged.status));
            html.raw("\">");
            html.text(judged.status.replace('_', " "));
            html.raw("</td>");
            html.element("td", &judged.detail);
            html.raw("</tr>");
        }
    });
}

/// A class of the style sheet; a status is a word of ours, and this keeps it so.
fn status_class(status: &str) -> &'static str {
    match status {
        "passed" => "passed",
        "failed" => "failed",
        "noted" => "noted",
        _ => "not_applicable",
    }
}

pub(super) fn boots(html: &mut Html, report: &Report<'_>) {
    html.raw("<h2>Boots and gaps</h2><p>One log for each boot of a guest, and one for each key broker. A log that was not closed ended \
        with its machine; at most the stated number of entries may be missing after its last. Each boot writes down which came before it and \
        how far that one had been cosigned, as the key broker told it.</p>");
    verdict_table(html, std::slice::from_ref(report.chain));
    html.table(
        &["log", "entries", "from, to", "measurement", "how it ended", "the boot before it"],
        |html| {
            for log in report.logs {
                html.raw("<tr>");
                code_cell(html, &log.origin);
                number(html, log.summary.entries());
                let (first, last) =
                    log.summary.times().map_or((String::new(), String::new()), |(a, b)| (utc(a), utc(b)));
                html.raw("<td class=\"t\">");
                html.text(first);
                html.raw("<br>");
                html.text(last);
                html.raw("</td>");
                code_cell(
                    html,
                    log.measurement.as_deref().map_or("none", |text| text.get(..12).unwrap_or(text)),
                );
                html.element("td", &log.ending);
                html.element("td", &log.follows);
                html.raw("</tr>");
            }
        },
    );
    for log in report.logs {
        html.raw("<p class=\"soft\">");
        html.text(format!("{}: first entry {}, covered {}, root ", log.origin, log.first, log.size));
        html.element("code", &log.root);
        if let Some(measurement) = &log.measurement {
            html.raw(", measurement ");
            html.element("code", measurement);
        }
        html.raw("</p>");
    }
}

pub(super) fn activity(html: &mut Html, report: &Report<'_>) {
    html.raw("<h2>What happened</h2>");
    html.table(&["log", "kind of entry", "entries", "not successful", "samples"], |html| {
        for (at, log) in report.logs.iter().enumerate() {
            for (kind, told) in log.summary.kinds() {
                html.raw("<tr>");
                html.element("td", short(log));
                code_cell(html, kind);
                number(html, told.count);
                number(html, told.unsuccessful);
                html.raw("<td>");
                told.samples.iter().for_each(|index| link(html, at, *index));
                html.raw("</td></tr>");
            }
        }
    });
    html.raw("<h3>Requests answered, by model</h3>");
    html.table(&["log", "model", "requests", "prompt tokens", "generated tokens"], |html| {
        for log in report.logs {
            for (model, served) in log.summary.served() {
                html.raw("<tr>");
                html.element("td", short(log));
                code_cell(html, model);
                number(html, served.requests);
                number(html, served.prompt_tokens);
                number(html, served.generated_tokens);
                html.raw("</tr>");
            }
        }
    });
}

pub(super) fn reasons(html: &mut Html, report: &Report<'_>) {
    html.raw("<h2>Refusals, denials, failures and remarks, by reason</h2>");
    let beyond: u64 = report.logs.iter().map(|log| log.summary.reasons().1).sum();
    if report.logs.iter().all(|log| log.summary.reasons().0.is_empty()) {
        html.raw("<p>None.</p>");
        return;
    }
    html.table(&["log", "kind of entry", "how it ended", "reason", "entries"], |html| {
        for log in report.logs {
            for (reason, count) in log.summary.reasons().0 {
                html.raw("<tr>");
                html.element("td", short(log));
                code_cell(html, reason.kind);
                html.element("td", reason.outcome);
                code_cell(html, &reason.code);
                number(html, *count);
                html.raw("</tr>");
            }
        }
    });
    if beyond > 0 {
        html.element("p", format!("{beyond} more entries with reasons that are not listed here."));
    }
}

pub(super) fn changes(html: &mut Html, report: &Report<'_>) {
    html.raw("<h2>Changes of policy, settings and keys; exports; crashes</h2>");
    if report.logs.iter().all(|log| log.summary.listed().0.is_empty()) {
        html.raw("<p>None.</p>");
        return;
    }
    html.table(&["log", "entry", "time", "kind", "how it ended", "what"], |html| {
        for log in report.logs {
            for entry in log.summary.listed().0 {
                html.raw("<tr>");
                html.element("td", short(log));
                number(html, entry.seq);
                time(html, entry.t);
                code_cell(html, entry.kind.name());
                html.element("td", format!("{} {}", outcome_name(entry.out), entry.code));
                code_cell(html, &what(entry));
                html.raw("</tr>");
            }
        }
    });
    let beyond: u64 = report.logs.iter().map(|log| log.summary.listed().1).sum();
    if beyond > 0 {
        html.element("p", format!("{beyond} more such entries are in the logs."));
    }
}

/// What an entry of a change is about, in its public names.
fn what(entry: &Entry) -> String {
    let mut parts = Vec::new();
    if let Some(setting) = &entry.cfg {
        parts.push(setting.name.to_string());
        parts.extend(setting.new.map(|new| format!("now {new}")));
        parts.extend(
            (!setting.approved_by.is_empty())
                .then(|| format!("approved by {} keys", setting.approved_by.len())),
        );
    }
    if let Some(decision) = &entry.decision {
        parts.push(format!("policy {} version {}", decision.policy_id, decision.policy_ver));
    }
    parts.extend(entry.key.as_ref().map(|key| format!("key {}", key.kid)));
    parts.extend(entry.model.as_ref().map(|model| format!("model {}", model.id)));
    parts.join(", ")
}

pub(super) fn controls(html: &mut Html, report: &Report<'_>) {
    html.raw("<h2>Controls</h2><p>Entries that bear on each control. They are evidence for it; whether the control is met is for the auditor \
        to say. Version of the tables: ");
    html.text(report.controls.version);
    html.raw("</p>");
    for framework in &report.controls.frameworks {
        html.raw("<h3>");
        html.text(&framework.title);
        html.raw(" <span class=\"soft\">");
        html.text(&framework.source);
        html.raw("</span></h3>");
        html.table(&["control", "asks", "what the entries show", "entries", "samples"], |html| {
            for control in &framework.controls {
                row(html, report, control);
            }
        });
    }
}

fn row(html: &mut Html, report: &Report<'_>, control: &Control) {
    let told = |log: &LogPart| control.entries.iter().map(|kind| log.summary.told(kind)).collect::<Vec<_>>();
    let count: u64 = report.logs.iter().flat_map(told).map(|told| told.count).sum();
    html.raw("<tr><td><b>");
    html.text(&control.id);
    html.raw("</b></td>");
    html.element("td", &control.asks);
    html.raw("<td>");
    html.text(&control.shown);
    html.raw("<br><code class=\"soft\">");
    html.text(control.entries.join(" "));
    html.raw("</code></td>");
    number(html, count);
    html.raw("<td>");
    for (at, log) in report.logs.iter().enumerate() {
        let first = told(log).into_iter().filter_map(|told| told.samples.first().copied());
        first.take(2).for_each(|index| link(html, at, index));
    }
    html.raw("</td></tr>");
}

pub(super) fn samples(html: &mut Html, report: &Report<'_>) {
    html.raw("<h2>Sample entries</h2><p>Byte for byte as they were hashed.</p>");
    for (at, log) in report.logs.iter().enumerate() {
        for entry in log.summary.shown() {
            html.raw("<h3 id=\"");
            html.text(anchor(at, entry.seq));
            html.raw("\">");
            html.text(format!("{} of {}: {}", entry.seq, short(log), entry.kind.name()));
            html.raw("</h3><pre>");
            let bytes = entry.to_bytes().unwrap_or_default();
            html.text(String::from_utf8_lossy(&bytes));
            html.raw("</pre>");
        }
    }
}

/// The evidence rule by rule, for who wants to see it; the verdicts at the top sum it up.
pub(super) fn evidence(html: &mut Html, report: &Report<'_>) {
    for log in report.logs.iter().filter(|log| !log.evidence.is_empty()) {
        html.raw("<h2>Evidence, rule by rule: ");
        html.text(short(log));
        html.raw("</h2>");
        verdict_table(html, &log.evidence);
    }
}

pub(super) fn how_to_verify(html: &mut Html, report: &Report<'_>) {
    html.raw("<h2>Verify it yourself</h2><p>This page is not signed. Whoever holds the bundles checks them without us, offline, and makes \
        this page again with the flags that it was made with:</p><pre>");
    let at = report.judged_at.map(|at| format!(" --at {at}")).unwrap_or_default();
    let root = |log: &LogPart| if log.simulated { " --dangerous-simulated-root ROOT" } else { "" };
    for log in report.logs {
        let trust = log.measurement.as_ref().map_or_else(
            || " --log-only --audit-key KEY".to_owned(),
            |measurement| format!(" --measurement {measurement}{}{at}", root(log)),
        );
        html.text(format!("anchorhold audit verify {}{trust}\n", log.file));
    }
    let files = report.logs.iter().map(|log| log.file.as_str()).collect::<Vec<_>>().join(" ");
    html.text(format!(
        "anchorhold audit report {files} FLAGS{at} --out again.html\ncmp report.html again.html\n"
    ));
    html.raw("</pre><p class=\"soft\">Entries hold numbers, digests and short identifiers. Prompts and answers are not in the log and cannot \
        be; a caller who kept a receipt can show which entry is about which request.</p>");
}

/// The last part of a log's name, which the boot's id ends.
pub(super) fn short(log: &LogPart) -> String {
    let tail: String = log.origin.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect();
    if log.origin.chars().count() > 24 { format!("…{tail}") } else { log.origin.clone() }
}

fn anchor(log: usize, index: u64) -> String {
    format!("log{log}-entry{index}")
}

fn link(html: &mut Html, log: usize, index: u64) {
    html.raw("<a href=\"#");
    html.text(anchor(log, index));
    html.raw("\">");
    html.text(index);
    html.raw("</a> ");
}

/// A number of things, with the word for one or for several.
fn count(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

pub(super) fn time(html: &mut Html, ns: i64) {
    html.raw("<td class=\"t\">");
    html.text(utc(ns));
    html.raw("</td>");
}

pub(super) fn number(html: &mut Html, value: u64) {
    html.raw("<td class=\"n\">");
    html.text(value);
    html.raw("</td>");
}

pub(super) fn code_cell(html: &mut Html, value: &str) {
    html.raw("<td><code>");
    html.text(value);
    html.raw("</code></td>");
}
