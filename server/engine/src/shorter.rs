//! Vectors that are cut (Matryoshka representation learning, Kusupati et al., 2022).

use serde::{Deserialize, Serialize};

/// The lengths to which a model's vectors may be cut. The first numbers of a vector are a vector by themselves only where the model was
/// trained so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shorter {
    /// None.
    #[default]
    No,
    /// Any.
    Any,
    /// These.
    To(Vec<u32>),
}

impl Shorter {
    /// Whether vectors of `own` numbers may be cut to `wanted`.
    #[must_use]
    pub fn allows(&self, own: u32, wanted: u32) -> bool {
        match self {
            Self::No => false,
            Self::Any => (1..=own).contains(&wanted),
            Self::To(lengths) => wanted <= own && lengths.contains(&wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_model_says_and_never_more_than_there_is() {
        let to = Shorter::To(vec![2, 4, 16]);
        assert!(to.allows(8, 4) && !to.allows(8, 3) && !to.allows(8, 16));
        assert!(Shorter::Any.allows(8, 1) && !Shorter::Any.allows(8, 0) && !Shorter::Any.allows(8, 9));
        assert!(!Shorter::No.allows(8, 4));
    }
}
