//! The certificates in a reference integrity manifest, found without reading the XML: what comes of it is only which questions
//! are asked of the OCSP responder, and when the manifest is fetched again.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Real manifests have four.
const MAX_CERTIFICATES: usize = 8;

/// Whether the bytes are text with a SWID tag's root in it.
pub(crate) fn is_manifest(xml: &[u8]) -> bool {
    std::str::from_utf8(xml).is_ok_and(|text| text.contains("<SoftwareIdentity"))
}

/// The DER of each `X509Certificate` element, in order.
pub(crate) fn certificates(xml: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(xml) else { return Vec::new() };
    // Between the start tag and the end tag stands every second piece, with the beginning of the end tag behind it.
    let contents = text.split("X509Certificate>").skip(1).step_by(2).take(MAX_CERTIFICATES);
    let decode = |piece: &str| {
        let base64: String = piece.split('<').next()?.split_ascii_whitespace().collect();
        STANDARD.decode(base64).ok()
    };
    contents.filter_map(decode).collect()
}

/// Whether the manifest could be the one with this id: ids end in the version that the manifest states, some without its
/// dots.
pub(crate) fn may_have_id(xml: &[u8], id: &str) -> bool {
    let version = std::str::from_utf8(xml).ok().and_then(|text| {
        let (_, after) = text.split_once("colloquialVersion=\"")?;
        after.split_once('"').map(|(version, _)| version)
    });
    let plain = |text: &str| text.replace('.', "").to_ascii_uppercase();
    version.is_some_and(|version| !version.is_empty() && plain(id).ends_with(&format!("_{}", plain(version))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_certificates_whatever_the_prefix_and_the_line_ends() {
        let xml = b"<a><ds:X509Certificate>AQ\r\nID</ds:X509Certificate>\n<X509Certificate>BAUG</X509Certificate></a>";
        assert_eq!(certificates(xml), [[1, 2, 3], [4, 5, 6]]);
        assert_eq!(certificates(b"<X509Certificate>@</X509Certificate>"), [[0; 0]; 0]);
        assert_eq!(certificates(b"<X509Certificate>"), [[0; 0]; 1]);
        assert_eq!(certificates(&[0xff]), [[0; 0]; 0]);
        let many = "<X509Certificate>AQID</X509Certificate>".repeat(20);
        assert_eq!(certificates(many.as_bytes()).len(), MAX_CERTIFICATES);
    }

    #[test]
    fn ids_end_in_the_version() {
        let xml = |version: &str| format!("<Meta colloquialVersion=\"{version}\">").into_bytes();
        assert!(may_have_id(&xml("550.144.03"), "NV_GPU_DRIVER_GH100_550.144.03"));
        assert!(may_have_id(&xml("96.00.5e.00.01"), "NV_GPU_VBIOS_1010_0200_882_96005E0001"));
        assert!(!may_have_id(&xml("550.144.03"), "NV_GPU_DRIVER_GH100_550.144.04"));
        assert!(!may_have_id(&xml(""), "NV_GPU_DRIVER_GH100_"));
        assert!(!may_have_id(b"<Meta>", "NV_GPU_DRIVER_GH100_550"));
    }
}
