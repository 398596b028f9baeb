//! Rows for a spreadsheet (RFC 4180), in a fixed order of columns.

use crate::time::utc;
use anchorhold_audit_log::{Entry, Hash, merkle};
use std::fmt::Display;

/// The names of the columns, in order.
pub const COLUMNS: &[&str] = &[
    "index",
    "time",
    "type",
    "outcome",
    "code",
    "severity",
    "actor",
    "tenant",
    "authenticated_by",
    "request",
    "route",
    "status",
    "streamed",
    "prompt_tokens",
    "generated_tokens",
    "milliseconds",
    "first_token_milliseconds",
    "finish",
    "model",
    "model_version",
    "model_manifest",
    "key",
    "key_operation",
    "policy",
    "policy_version",
    "grant",
    "rules_failed",
    "tee",
    "measurement",
    "evidence",
    "setting",
    "old",
    "new",
    "correlation",
    "id",
    "leaf_hash",
    "pseudonym",
    "sealed",
];

/// The first line, with its line end.
#[must_use]
pub fn header() -> String {
    COLUMNS.join(",") + "\r\n"
}

/// One entry as a line, with its line end.
#[must_use]
pub fn row(entry: &Entry) -> String {
    let quoted = |value: Option<String>| value.map_or_else(String::new, |value| cell(&value));
    cells(entry).into_iter().map(quoted).collect::<Vec<_>>().join(",") + "\r\n"
}

/// The values of one entry in the order of [`COLUMNS`], as they are.
#[must_use]
pub fn cells(entry: &Entry) -> Vec<Option<String>> {
    let mut row = Row::default();
    row.add(Some(entry.seq));
    row.add(Some(utc(entry.t)));
    row.add(Some(entry.kind.name()));
    row.add(word(&entry.out));
    row.add(Some(&entry.code));
    row.add(Some(entry.sev));
    let actor = entry.actor.as_ref();
    row.add(actor.and_then(|actor| word(&actor.kind)));
    row.add(actor.and_then(|actor| actor.tenant.as_ref()));
    row.add(actor.and_then(|actor| word(&actor.auth?)));
    add_request(&mut row, entry);
    add_model_and_key(&mut row, entry);
    let decision = entry.decision.as_ref();
    row.add(decision.map(|decision| &decision.policy_id));
    row.add(decision.map(|decision| decision.policy_ver));
    row.add(decision.and_then(|decision| decision.grant.as_ref()));
    let failed = decision
        .map(|decision| decision.checks.iter().filter(|check| !check.ok).map(|check| check.id.as_str()));
    row.add(failed.map(|failed| failed.collect::<Vec<_>>().join(" ")));
    let platform = entry.platform.as_ref();
    row.add(platform.and_then(|platform| word(&platform.tee)));
    row.add(platform.and_then(|platform| platform.meas));
    row.add(platform.and_then(|platform| platform.evidence));
    let setting = entry.cfg.as_ref();
    row.add(setting.map(|setting| &setting.name));
    row.add(setting.and_then(|setting| setting.old));
    row.add(setting.and_then(|setting| setting.new));
    row.add(entry.corr.as_ref());
    row.add(Some(&entry.id));
    row.add(leaf_hash(entry));
    row.add(actor.and_then(|actor| actor.pseud));
    // Only who holds the keyring can say whether it can still be opened.
    row.add(entry.sealed.as_ref().map(|_| "present"));
    row.cells
}

fn add_request(row: &mut Row, entry: &Entry) {
    let request = entry.req.as_ref();
    row.add(request.map(|request| &request.rid));
    row.add(request.and_then(|request| word(&request.route)));
    row.add(request.and_then(|request| request.status));
    row.add(request.map(|request| request.stream));
    row.add(request.map(|request| request.tin));
    row.add(request.map(|request| request.tout));
    row.add(request.map(|request| request.ms));
    row.add(request.and_then(|request| request.ttft_ms));
    row.add(request.and_then(|request| word(&request.finish?)));
}

fn add_model_and_key(row: &mut Row, entry: &Entry) {
    let model = entry.model.as_ref();
    row.add(model.map(|model| &model.id));
    row.add(model.and_then(|model| model.ver));
    row.add(model.and_then(|model| model.manifest));
    let key = entry.key.as_ref();
    row.add(key.map(|key| &key.kid));
    row.add(key.and_then(|key| word(&key.op)));
}

/// The hash under which the log's tree holds the entry. The bytes of an entry that was read are its one spelling.
pub(crate) fn leaf_hash(entry: &Entry) -> Option<Hash> {
    entry.to_bytes().ok().map(|bytes| merkle::leaf_hash(&bytes))
}

/// The word that an entry's JSON has for a value.
pub(crate) fn word(value: &impl serde::Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

#[derive(Default)]
struct Row {
    cells: Vec<Option<String>>,
}

impl Row {
    fn add(&mut self, value: Option<impl Display>) {
        self.cells.push(value.map(|value| value.to_string()));
    }
}

/// A cell that no spreadsheet takes for a formula. Entries hold identifiers of small alphabets only; that this is so is not presumed here.
fn cell(value: &str) -> String {
    let acts = value.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let value = if acts { format!("'{value}") } else { value.to_owned() };
    if value.contains([',', '"', '\r', '\n']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_33_a_cell_is_text_and_one_cell() {
        let cases = [
            ("=cmd|'/C calc'!A0", "'=cmd|'/C calc'!A0"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=a\r\nb", "\"'=a\r\nb\""),
            ("plain", "plain"),
        ];
        for (value, wanted) in cases {
            assert_eq!(cell(value), wanted);
        }
    }
}
