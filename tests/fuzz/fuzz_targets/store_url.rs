//! Addresses of packages, ranges that a store says it sends, and files with an access key: one meaning or none.
#![no_main]

use anchorhold_weights_store::{MAX_URL_LEN, Place, S3Credentials, StoreUrl, parse_content_range};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(url) = text.parse::<StoreUrl>() {
        assert!(text.len() <= MAX_URL_LEN);
        assert_eq!(url.to_string(), text, "an address is logged as it was written");
        assert_eq!(text.parse::<StoreUrl>().expect("the same text"), url);
        let prefix = url.prefix();
        assert!(!prefix.starts_with('/') && !prefix.ends_with('/'));
        assert!(prefix.is_empty() || prefix.split('/').all(|part| !matches!(part, "" | "." | "..")));
        assert!(prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"%?#@\\:".contains(&byte)));
        if let Place::Http { authority, .. } = url.place() {
            assert!(!authority.contains('@') && authority.parse::<http::uri::Authority>().is_ok());
        }
    }
    if let Some((range, length)) = parse_content_range(text) {
        assert!(range.start() <= range.end() && *range.end() < length);
        let (first, last) = (range.start(), range.end());
        assert_eq!(parse_content_range(&format!("bytes {first}-{last}/{length}")), Some((range, length)));
    }
    if let Ok(key) = S3Credentials::parse(text) {
        assert_eq!(format!("{key:?}"), format!("S3Credentials({})", key.key_id()), "the key id alone");
        assert!(key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()));
    }
});
