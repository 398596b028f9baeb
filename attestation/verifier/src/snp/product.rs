//! Product lines, each with its own root and its own meaning of the TCB bytes.

use std::fmt;

/// A line of EPYC processors that shares one ARK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// Third generation (7003).
    Milan,
    /// Fourth generation (9004, 8004): Genoa, Bergamo, Siena.
    Genoa,
    /// Fifth generation (9005).
    Turin,
}

/// CPUID family, model and stepping as reports from version 3 on state them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpuid {
    /// Combined extended and base family.
    pub family: u8,
    /// Combined extended and base model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The product of a family and model, or `None` for one that is not known here.
    #[must_use]
    pub const fn from_cpuid(cpuid: Cpuid) -> Option<Self> {
        match (cpuid.family, cpuid.model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The product of a certificate's productName: the name, or the name with a stepping such as `Milan-B0`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (name, stepping) = name.split_once('-').map_or((name, None), |(name, rest)| (name, Some(rest)));
        let stepping_known =
            stepping.is_none_or(|text| matches!(text.as_bytes(), [b'A'..=b'Z', b'0'..=b'9']));
        let product = Self::ALL.into_iter().find(|product| product.name() == name)?;
        stepping_known.then_some(product)
    }

    /// Its name, as productName and the names of the intermediates have it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Cpuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "family {:#04x} model {:#04x} stepping {}", self.family, self.model, self.stepping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_06_unknown_products_have_no_name() {
        for name in ["", "Milan-", "Milan-b0", "Milan-B0-", "Milan-B00", "milan", "Rome", "Genoa Turin"] {
            assert_eq!(Product::from_name(name), None, "{name}");
        }
        assert_eq!(Product::from_name("Milan-B0"), Some(Product::Milan));
        assert_eq!(Product::from_name("Turin"), Some(Product::Turin));
        let at = |family, model| Product::from_cpuid(Cpuid { family, model, stepping: 0 });
        assert_eq!(at(0x19, 0x0f), Some(Product::Milan));
        assert_eq!(at(0x19, 0x10), Some(Product::Genoa));
        assert_eq!(at(0x19, 0xa0), Some(Product::Genoa));
        assert_eq!(at(0x1a, 0x11), Some(Product::Turin));
        assert_eq!(at(0x19, 0x20), None);
        assert_eq!(at(0x1a, 0x12), None);
        assert_eq!(at(0x17, 0x31), None);
    }
}
