//! Roots that stand in the place of the vendors', from a file.

use crate::exit::Failure;
use crate::files;
use anchorhold_relying_party::read_roots;
use anchorhold_verifier::TrustAnchors;
use std::path::Path;

const MAX_FILE_BYTES: usize = 32 * 1024;
const HINT: &str = "`anchorhold simulated-root roots.pem` writes the roots of all simulated parts";

/// Reads one root of SEV-SNP as DER, or several roots as PEM.
pub(crate) fn read(path: &Path) -> Result<TrustAnchors, Failure> {
    let bytes = files::read(path, MAX_FILE_BYTES)?;
    read_roots(&bytes).map_err(|error| Failure::other(format!("{}: {error}", path.display())).hint(HINT))
}
