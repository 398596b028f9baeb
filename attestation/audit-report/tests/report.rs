//! Rows, filters and the report's page.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at a surprise")]

mod entries;

use anchorhold_audit_log::{Code, Entry, Event, EventType, Hash, Outcome, TenantId};
use anchorhold_audit_report::controls::Controls;
use anchorhold_audit_report::html::{Drawn, Judged, LogPart, Report, page};
use anchorhold_audit_report::{Filter, SAMPLES_KEPT, Summary, csv};

fn log() -> Vec<Entry> {
    let kinds = [
        (EventType::LogOpen, Outcome::Success),
        (EventType::PolicyLoad, Outcome::Success),
        (EventType::KeyRelease, Outcome::Success),
        (EventType::KeyRefuse, Outcome::Denied),
        (EventType::InferComplete, Outcome::Success),
        (EventType::InferComplete, Outcome::Success),
        (EventType::InferComplete, Outcome::Success),
        (EventType::LogClose, Outcome::Success),
    ];
    let events = kinds.into_iter().zip(0_u8..).map(|((kind, outcome), seconds)| {
        let [bare, full] = entries::bare_and_full(kind, outcome);
        let event = if seconds % 7 == 0 { bare } else { full };
        Event { at: entries::at(i64::from(seconds)), ..event }
    });
    events.zip(0..).map(|(event, seq)| entries::entry(&event, seq)).collect()
}

fn part() -> LogPart {
    let mut summary = Summary::default();
    log().iter().for_each(|entry| summary.take(entry));
    LogPart {
        file: "bundle.tar".to_owned(),
        origin: entries::ORIGIN.to_owned(),
        boot: "07".repeat(16),
        first: 0,
        size: 8,
        root: "ab".repeat(32),
        verdict: "accepted".to_owned(),
        simulated: false,
        measurement: Some("cd".repeat(48)),
        judged: vec![Judged {
            check: "root".to_owned(),
            status: "passed".to_owned(),
            detail: "as expected".to_owned(),
        }],
        evidence: vec![Judged {
            check: "snp_report_data".to_owned(),
            status: "passed".to_owned(),
            detail: "as expected".to_owned(),
        }],
        ending: "closed".to_owned(),
        follows: "acme/0 at 7 entries, closed; not here".to_owned(),
        drawn: Some(Drawn { word: "kestrel".to_owned(), population: 8, indexes: vec![3] }),
        summary,
    }
}

#[test]
fn rows_have_a_cell_for_each_column() {
    let wanted = csv::COLUMNS.len();
    assert_eq!(csv::header().trim_end().split(',').count(), wanted);
    for entry in log() {
        let row = csv::row(&entry);
        let line = row.strip_suffix("\r\n").unwrap();
        assert_eq!(line.split(',').count(), wanted, "{line}");
    }
    let row = csv::row(&log()[4]);
    assert!(
        row.starts_with(
            "4,2025-11-29T07:06:44.000Z,infer.complete,success,some_reason,1,client,clinic,api_key,req-1,"
        ),
        "{row}"
    );
    assert!(row.contains(",chat.completions,200,true,12,34,120,20,stop,acme/chat,3,"), "{row}");
}

/// A table of entries with every part filled and with none, for whoever reads it with a program.
#[test]
fn the_published_rows_are_those_that_are_written() {
    let events =
        [EventType::KeyRefuse, EventType::InferComplete, EventType::Erasure].into_iter().flat_map(|kind| {
            let outcome = if kind == EventType::KeyRefuse { Outcome::Denied } else { Outcome::Success };
            entries::bare_and_full(kind, outcome)
        });
    let rows = events.zip(0..).map(|(event, seq)| csv::row(&entries::entry(&event, seq)));
    entries::is_published("entries.csv", &(csv::header() + &rows.collect::<String>()));
}

#[test]
fn filters_are_all_asked() {
    let count = |filter: &Filter| log().iter().filter(|entry| filter.takes(entry)).count();
    assert_eq!(count(&Filter::default()), 8);
    let since = Filter { since_ns: Some(entries::at(2).wall_ns), ..Filter::default() };
    assert_eq!(count(&since), 6);
    assert_eq!(count(&Filter { until_ns: Some(entries::at(4).wall_ns), ..since.clone() }), 2);
    let of = |tenant: &str| Filter { tenant: Some(TenantId::new(tenant).unwrap()), ..Filter::default() };
    assert_eq!(count(&of("clinic")), 6, "the bare entries have no tenant");
    assert_eq!(count(&of("bank")), 0);
    let by = |byte| Filter { pseudonym: Some(Hash::new([byte; 32])), ..Filter::default() };
    assert_eq!((count(&by(8)), count(&by(9))), (6, 0), "those with an actor");
    let neither = Filter { outcome: Some(Outcome::Denied), ..of("bank") };
    assert_eq!(count(&neither), 0, "all that is asked has to hold");
    let both = Filter { outcome: Some(Outcome::Denied), ..of("clinic") };
    assert_eq!(count(&both), 1);
    assert_eq!(count(&Filter { outcome: Some(Outcome::Denied), ..Filter::default() }), 1);
    let mut kinds = Filter::default();
    assert!(kinds.add_kind("infer.complete") && kinds.add_kind("log.close") && !kinds.add_kind("infer"));
    assert_eq!(count(&kinds), 4);
}

#[test]
fn the_summary_counts_and_keeps_few() {
    let part = part();
    let told = part.summary.told("infer.complete");
    assert_eq!((told.count, told.samples.len()), (3, SAMPLES_KEPT));
    let served = part.summary.served()["acme/chat version 3"];
    assert_eq!((served.requests, served.prompt_tokens, served.generated_tokens), (3, 36, 102));
    assert_eq!(part.summary.listed().0.len(), 1);
    assert_eq!(part.summary.told("no.such"), anchorhold_audit_report::Told::default());
}

#[test]
fn rows_and_events_say_that_a_part_is_sealed_and_never_what() {
    let entry = &log()[4];
    let ciphertext = serde_json::to_value(entry.sealed.as_ref().unwrap()).unwrap()["ct"].to_string();
    let event = anchorhold_audit_report::ocsf::event(entry, entries::ORIGIN);
    assert_eq!(event["unmapped"]["sealed"]["state"], "present");
    let row = csv::row(entry);
    assert!(row.ends_with(",present\r\n"), "{row}");
    for text in [row, event.to_string()] {
        assert!(!text.contains(ciphertext.trim_matches('"')), "{text}");
    }
}

#[test]
fn the_page_lists_the_acts_of_an_archive() {
    let mut archive = part();
    let silent = made(&[part()]);
    assert!(silent.contains("No archive's log is among these logs"), "nothing is made up");
    archive.summary = Summary::default();
    let kinds = [EventType::LogArchive, EventType::LogPrune, EventType::HoldPlace, EventType::Erasure];
    for (kind, seq) in kinds.into_iter().zip(0..) {
        let [_, full] = entries::bare_and_full(kind, Outcome::Success);
        archive.summary.take(&entries::entry(&full, seq));
    }
    let page = made(&[archive]);
    for wanted in [
        "entries 3 to 9 gone, of 12, by default, pci",
        "hold case-17",
        "key 09090909090909090909090909090909 destroyed",
        "4 entries have a sealed personal part",
        "hold.place",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
}

fn made(logs: &[LogPart]) -> String {
    let chain = Judged {
        check: "chain".to_owned(),
        status: "noted".to_owned(),
        detail: "acme/0 came before and is not here".to_owned(),
    };
    let controls = Controls::built_in().unwrap();
    page(&Report { scope: None, judged_at: None, logs, chain: &chain, controls: &controls })
}

#[test]
fn the_page_says_what_was_found_and_runs_nothing() {
    let part = part();
    let good = made(std::slice::from_ref(&part));
    for wanted in [
        "Every log is complete for its range",
        "acme/chat version 3",
        "some_reason",
        "SOC 2",
        "164.312(b)",
        "href=\"#log0-entry3\"",
        "id=\"log0-entry3\"",
        "anchorhold audit verify bundle.tar --measurement cdcd",
        "default-src 'none'",
        "acme/0 came before and is not here",
        "acme/0 at 7 entries, closed; not here",
        "class=\"box good\"",
    ] {
        assert!(good.contains(wanted), "{wanted}");
    }
    assert!(good == made(std::slice::from_ref(&part)), "the same logs give the same page");
    for never in ["<script", "javascript:", "http://", "https://", "<img", "style=", "onload"] {
        assert!(!good.contains(never), "{never}");
    }
    let refused = made(&[part.clone(), LogPart { verdict: "not_proven".to_owned(), ..part.clone() }]);
    assert!(refused.contains("1 of 2 logs prove nothing") && refused.contains("box bad"));
    let failed =
        vec![Judged { check: "snp_vmpl".to_owned(), status: "failed".to_owned(), detail: "3".to_owned() }];
    assert!(made(&[LogPart { evidence: failed, ..part.clone() }]).contains("0 rules passed, 1 failed"));
    let simulated = made(&[LogPart { simulated: true, ..part }]);
    assert!(simulated.contains("simulated") && simulated.contains("class=\"box note\""));
}

#[test]
fn every_link_leads_to_an_entry_of_the_page() {
    let page = made(&[part(), part()]);
    let mut links = 0;
    for rest in page.split("href=\"#").skip(1) {
        let anchor = rest.split('"').next().unwrap();
        assert!(page.contains(&format!("id=\"{anchor}\"")), "{anchor}");
        links += 1;
    }
    assert!(links > 40, "{links}");
}

#[test]
fn case_33_hostile_words_are_inert_on_the_page() {
    let hostile = "</td><script>alert(1)</script>\u{202e}\u{1b}[2J";
    let mut part = part();
    part.file = hostile.to_owned();
    part.origin = hostile.to_owned();
    part.ending = hostile.to_owned();
    part.follows = hostile.to_owned();
    part.judged[0].status = hostile.to_owned();
    part.judged[0].detail = hostile.to_owned();
    part.drawn = Some(Drawn { word: hostile.to_owned(), population: 1, indexes: Vec::new() });
    let page = made(&[part]);
    assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\u{1b}'));
    assert!(page.contains("&lt;script&gt;"));
}

/// The page of two logs, one of them refused and with everything that a log can have, as auditors are shown it.
#[test]
fn the_published_page_is_the_one_that_is_made() {
    let mut archive = part();
    for (kind, seq) in [EventType::LogArchive, EventType::LogPrune, EventType::Erasure].into_iter().zip(8..) {
        let [_, full] = entries::bare_and_full(kind, Outcome::Success);
        archive.summary.take(&entries::entry(&full, seq));
    }
    archive.first = 2;
    archive.origin = "archive.example/of-all-logs".to_owned();
    archive.simulated = true;
    archive.verdict = "not_proven".to_owned();
    archive.judged.push(Judged {
        check: "leaves".to_owned(),
        status: "failed".to_owned(),
        detail: "entry 3 was changed".to_owned(),
    });
    archive.evidence.push(Judged {
        check: "snp_vmpl".to_owned(),
        status: "failed".to_owned(),
        detail: "3".to_owned(),
    });
    let bare = LogPart {
        measurement: None,
        evidence: Vec::new(),
        drawn: None,
        origin: "acme/1".to_owned(),
        ..part()
    };
    let text = r#"{"format":"anchorhold-controls-v1","version":7,"frameworks":[{"id":"x","title":"A framework","source":"its text","controls":[
        {"id":"1.1","asks":"that it is known","shown":"who asked","entries":["key.refuse","infer.complete"]},
        {"id":"1.2","asks":"that it ends","shown":"that it did","entries":["log.close"]}]}]}"#;
    let controls = Controls::from_json(text).unwrap();
    let chain = Judged {
        check: "chain".to_owned(),
        status: "noted".to_owned(),
        detail: "one is not here".to_owned(),
    };
    let logs = [archive, bare];
    let report = Report {
        scope: Some("tenant clinic"),
        judged_at: Some("2026-01-31T12:00:00Z"),
        logs: &logs,
        chain: &chain,
        controls: &controls,
    };
    // A tag to a line, so that a change can be read.
    entries::is_published("report.html.lines", &page(&report).replace('<', "\n<"));
}

#[test]
fn what_goes_beyond_a_list_is_counted_on_the_page() {
    let counted = |extra: u64| {
        let mut log = part();
        log.summary = Summary::default();
        for kind in [EventType::PolicyLoad, EventType::LogPrune] {
            let [bare, _] = entries::bare_and_full(kind, Outcome::Success);
            let entry = entries::entry(&bare, 0);
            (0..500 + extra).for_each(|seq| log.summary.take(&Entry { seq, ..entry.clone() }));
        }
        let [bare, _] = entries::bare_and_full(EventType::KeyRefuse, Outcome::Denied);
        let entry = entries::entry(&bare, 0);
        for number in 0..1000 + extra {
            let code = Code::new(&format!("reason_{number}")).unwrap();
            log.summary.take(&Entry { code, ..entry.clone() });
        }
        log.summary.take(&Entry { code: Code::new("reason_0").unwrap(), ..entry });
        assert_eq!(log.summary.listed(), (log.summary.listed().0, extra));
        assert_eq!(
            (log.summary.listed().0.len(), log.summary.kept().0.len(), log.summary.kept().1),
            (500, 500, extra)
        );
        assert_eq!((log.summary.reasons().0.len(), log.summary.reasons().1), (1000, extra));
        let first = log.summary.reasons().0.iter().find(|(reason, _)| reason.code == "reason_0").unwrap();
        assert_eq!(*first.1, 2, "one that is listed is counted on");
        made(&[log])
    };
    let beyond =
        ["more entries with reasons that are not listed here", "more such entries are", "more such acts are"];
    let (fits, over) = (counted(0), counted(3));
    for text in beyond {
        assert!(!fits.contains(text), "{text}");
        assert!(over.contains(&format!("3 {text}")), "{text}");
    }
}

#[test]
fn a_summary_tells_times_successes_and_models() {
    let summary = part().summary;
    let at = |second| entries::at(second).wall_ns;
    assert_eq!((summary.entries(), summary.times()), (8, Some((at(0), at(7)))));
    let refused = summary.told("key.refuse");
    assert_eq!((refused.count, refused.unsuccessful, refused.samples), (1, 1, vec![3]));
    let answered = summary.told("infer.complete");
    assert_eq!((answered.unsuccessful, answered.samples), (0, vec![4, 5]));
    assert_eq!(summary.kinds().count(), 6);
    assert_eq!(summary.sealed(), 6, "those with every part");
    let shown: Vec<u64> = summary.shown().map(|entry| entry.seq).collect();
    assert_eq!(shown, [0, 1, 2, 3, 4, 5, 7], "two of a kind");
    let mut summary = summary;
    summary.show(&log()[6]);
    assert_eq!(summary.shown().count(), 8);
    // So many models are told apart; a request of one that is told is counted on.
    let [_, full] = entries::bare_and_full(EventType::InferComplete, Outcome::Success);
    let entry = entries::entry(&full, 9);
    let mut summary = Summary::default();
    for version in (0..203).chain([0]) {
        let mut entry = entry.clone();
        entry.model.as_mut().unwrap().ver = Some(version);
        summary.take(&entry);
    }
    assert_eq!(summary.served().len(), 200);
    assert_eq!(summary.served()["acme/chat version 0"].requests, 2);
}

#[test]
fn a_long_name_is_cut_to_its_end_where_only_the_log_is_meant() {
    let named = |name: &str| made(&[LogPart { origin: name.to_owned(), ..part() }]);
    let (fits, long) = ("deployment/0123456789abc", "deployment/0123456789abcd");
    assert_eq!(fits.len(), 24);
    assert!(!named(fits).contains('…') && named(long).contains("<td>…6789abcd</td>"));
}
