//! The launch digest of a software guest.

use anchorhold_rats::Measurement;
use ring::digest::{Context, SHA384};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

const DOMAIN: &[u8] = b"anchorhold simulated launch digest v1";
const CHUNK_BYTES: usize = 64 * 1024;

/// The simulated launch digest of named files: SHA-384 over a domain string and, for each component in order, the
/// length of its name (8 bytes, big-endian), its name, and the SHA-384 digest of its file.
///
/// It stands where a real guest has the digest of its initial memory. Nothing enforces that these files are
/// what runs.
///
/// # Errors
/// When a file cannot be read.
pub fn measure_components(components: &[(&str, &Path)]) -> io::Result<Measurement> {
    let mut launch = Context::new(&SHA384);
    launch.update(DOMAIN);
    for (name, path) in components {
        launch.update(&(name.len() as u64).to_be_bytes());
        launch.update(name.as_bytes());
        launch.update(digest_file(path)?.as_ref());
    }
    let mut bytes = [0; Measurement::LEN];
    bytes.copy_from_slice(launch.finish().as_ref());
    Ok(Measurement::new(bytes))
}

fn digest_file(path: &Path) -> io::Result<ring::digest::Digest> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA384);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(context.finish()),
            count => context.update(chunk.get(..count).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_contents_and_order_all_count() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&a, vec![1; CHUNK_BYTES + 1]).unwrap();
        std::fs::write(&b, b"two").unwrap();
        let measure = |components: &[(&str, &Path)]| measure_components(components).unwrap();
        let first = measure(&[("kernel", &a), ("initrd", &b)]);
        assert_eq!(first, measure(&[("kernel", &a), ("initrd", &b)]));
        let others = [
            measure(&[("initrd", &b), ("kernel", &a)]),
            measure(&[("kernel", &b), ("initrd", &a)]),
            measure(&[("kerneli", &a), ("nitrd", &b)]),
        ];
        assert!(!others.contains(&first));
        std::fs::write(&b, b"twp").unwrap();
        assert_ne!(first, measure(&[("kernel", &a), ("initrd", &b)]));
        assert!(measure_components(&[("kernel", &folder.path().join("none"))]).is_err());
    }
}
