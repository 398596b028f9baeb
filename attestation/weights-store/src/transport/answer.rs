//! What the head of an answer must be for the request that it answers.

use std::ops::RangeInclusive;

use http::response::Parts;
use http::{HeaderMap, header};
use object_store::client::HttpRequest;

use super::{MAX_OTHER_BODY, MaxBody};
use crate::error::Fault;

/// The longest S3 error code that is passed on.
const MAX_CODE_LEN: usize = 64;

/// What was asked for.
pub(super) struct Expected {
    range: Option<RangeInclusive<u64>>,
    limit: u64,
}

/// How long a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyLen {
    /// Exactly this long.
    Exactly(u64),
    /// Any length up to this.
    AtMost(u64),
}

impl Expected {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
        let range = range.and_then(|value| value.strip_prefix("bytes=")?.split_once('-'));
        let range = range.and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
        let limit = request.extensions().get::<MaxBody>().map_or(MAX_OTHER_BODY, |limit| limit.0);
        Self { range, limit }
    }

    pub(super) fn body_len(&self) -> BodyLen {
        match &self.range {
            Some(range) => BodyLen::Exactly((range.end() - range.start()).saturating_add(1)),
            None => BodyLen::AtMost(self.limit),
        }
    }

    pub(super) fn check(&self, head: &Parts) -> Result<(), Fault> {
        judge_status(head)?;
        if head.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(Fault::Encoding);
        }
        if let Some(range) = &self.range {
            check_range(range, head)?;
        }
        let length = content_length(&head.headers);
        match (self.body_len(), length) {
            (BodyLen::AtMost(limit), Some(length)) if length > limit => Err(Fault::TooLong { limit }),
            (BodyLen::Exactly(limit), Some(length)) if length > limit => Err(Fault::TooLong { limit }),
            (BodyLen::Exactly(wanted), Some(observed)) if observed < wanted => {
                Err(Fault::Short { wanted, observed })
            }
            _ => Ok(()),
        }
    }
}

fn judge_status(head: &Parts) -> Result<(), Fault> {
    let status = head.status.as_u16();
    let code = None;
    Err(match status {
        200..=299 => return Ok(()),
        300..=399 => Fault::Redirect { status },
        401 | 403 => Fault::Denied { status, code },
        404 | 410 => Fault::Absent { status },
        412 => Fault::Changed,
        408 | 429 | 500..=599 => {
            let asked = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            Fault::Unavailable { status, code, retry_after_s: asked.and_then(|text| text.parse().ok()) }
        }
        _ => Fault::Status { status, code },
    })
}

fn check_range(wanted: &RangeInclusive<u64>, head: &Parts) -> Result<(), Fault> {
    if head.status != http::StatusCode::PARTIAL_CONTENT {
        return Err(Fault::NotPartial);
    }
    let text =
        head.headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match parse_content_range(text) {
        Some((range, _)) if range == *wanted => Ok(()),
        Some((range, total)) => {
            Err(Fault::Range { wanted: spell(wanted), observed: format!("{}/{total}", spell(&range)) })
        }
        None => Err(Fault::Range { wanted: spell(wanted), observed: "no such range".to_owned() }),
    }
}

fn spell(range: &RangeInclusive<u64>) -> String {
    format!("{}-{}", range.start(), range.end())
}

/// `bytes <first>-<last>/<length>`, RFC 9110 section 14.4, with nothing left open: an answer whose object has no known length
/// cannot be held against the signed one.
#[must_use]
pub fn parse_content_range(text: &str) -> Option<(RangeInclusive<u64>, u64)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u64>().ok() } else { None }
    };
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, length) = (number(first)?, number(last)?, number(length)?);
    (first <= last && last < length).then_some((first..=last, length))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The `<Code>` of an S3 error, if it reads as one. The rest of the text is the store's and goes nowhere.
pub(super) fn s3_code(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let plain =
        (1..=MAX_CODE_LEN).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_content_range_and_nothing_like_it() {
        assert_eq!(parse_content_range("bytes 0-73/4096"), Some((0..=73, 4096)));
        assert_eq!(parse_content_range("bytes 5-5/6"), Some((5..=5, 6)));
        for bad in [
            "",
            "bytes",
            "bytes 0-73",
            "bytes 0-73/*",
            "bytes */4096",
            "bytes 73-0/4096",
            "bytes 0-4096/4096",
            "bytes=0-73/4096",
            "bytes  0-73/4096",
            "bytes +0-73/4096",
            "bytes 0--1/4096",
            "bytes 0-18446744073709551616/1",
            "Bytes 0-1/2",
            "bytes 0-1/2 ",
            "bytes -1/2",
            "bytes 0-1/18446744073709551616",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn passes_on_a_code_and_no_other_text() {
        let error = b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>secret</Message></Error>";
        assert_eq!(s3_code(error).as_deref(), Some("SlowDown"));
        let long = format!("<Code>{}</Code>", "A".repeat(MAX_CODE_LEN + 1));
        for bad in [
            &b""[..],
            b"<Code>",
            b"<Code></Code>",
            b"<Code>a b</Code>",
            b"<Code>\x1b[2J</Code>",
            long.as_bytes(),
        ] {
            assert_eq!(s3_code(bad), None);
        }
    }
}
