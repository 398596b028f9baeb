//! Appraisal profiles for cases: what a manifest's own rules cannot say.

use std::collections::BTreeMap;

/// A profile, as its keys with their whole paths and their values in TOML.
#[derive(Debug, Clone)]
pub(super) struct Profile(BTreeMap<String, String>);

impl Profile {
    /// A profile that accepts no family.
    fn new() -> Self {
        let header = Self(BTreeMap::new())
            .with("format", "1")
            .with("id", "\"rejection\"")
            .with("version", "1")
            .with("issued", "\"2026-01-01T00:00:00Z\"");
        header.with("expires", "\"2027-12-31T00:00:00Z\"").with("description", "\"a case of the suite\"")
    }

    /// Accepts the good SNP guest of the suite.
    pub(super) fn snp() -> Self {
        Self::new()
            .with("snp.measurements", format!("[\"sha384:{}\"]", "07".repeat(48)))
            .with("snp.products", "[\"genoa\"]")
            .with("snp.min_tcb.genoa", "{ bl = 10, tee = 0, snp = 25, ucode = 84 }")
            .with("snp.machines", "\"any\"")
            .with("snp.require_crl", "false")
    }

    /// Accepts the good TD of the suite.
    pub(super) fn tdx() -> Self {
        Self::new().and_tdx()
    }

    /// And the good TD of the suite.
    #[must_use]
    pub(super) fn and_tdx(self) -> Self {
        self.with("tdx.mrtds", format!("[\"sha384:{}\"]", "07".repeat(48)))
            .with("tdx.rtmr1", "\"any\"")
            .with("tdx.rtmr2", "\"any\"")
            .with("tdx.machines", "\"any\"")
    }

    /// With this value in the place of the one that is there.
    #[must_use]
    pub(super) fn with(mut self, path: &str, value: impl Into<String>) -> Self {
        self.0.insert(path.to_owned(), value.into());
        self
    }

    /// Without this key.
    #[must_use]
    pub(super) fn without(mut self, path: &str) -> Self {
        self.0.remove(path);
        self
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|(path, value)| format!("{path} = {value}\n")).collect()
    }
}

/// A text of TOML: these bytes in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}
