//! TCB versions. Each product has its own type, so versions of different products cannot be compared.

use super::{Product, Report};
use std::fmt;

/// The 8 bytes of a TCB version, which mean nothing until the product is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawTcb(pub [u8; 8]);

/// A TCB version of one product: security version numbers, each of which only grows.
pub trait TcbVersion: Copy + Eq + fmt::Debug + Into<Tcb> {
    /// The components by name, lowest layer first.
    fn components(&self) -> Vec<(&'static str, u8)>;

    /// Reads the layout of this product; `None` when a reserved byte is not zero.
    fn decode(raw: RawTcb) -> Option<Self>;

    /// Writes the layout of this product.
    fn encode(&self) -> RawTcb;

    /// The components in which this version is below `floor`, as (name, wanted, observed).
    fn below(&self, floor: &Self) -> Vec<(&'static str, u8, u8)> {
        self.components()
            .into_iter()
            .zip(floor.components())
            .filter(|((_, observed), (_, wanted))| observed < wanted)
            .map(|((name, observed), (_, wanted))| (name, wanted, observed))
            .collect()
    }
}

macro_rules! tcb_version {
    ($(#[$doc:meta])* $name:ident, $product:ident: $($(#[$field_doc:meta])* $field:ident at $index:literal),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u8,)+
        }

        impl TcbVersion for $name {
            fn components(&self) -> Vec<(&'static str, u8)> {
                vec![$((stringify!($field), self.$field)),+]
            }

            fn decode(raw: RawTcb) -> Option<Self> {
                let decoded = Self { $($field: *raw.0.get($index)?),+ };
                (decoded.encode() == raw).then_some(decoded)
            }

            fn encode(&self) -> RawTcb {
                let mut bytes = [0; 8];
                for (index, value) in [$(($index, self.$field)),+] {
                    if let Some(byte) = bytes.get_mut::<usize>(index) {
                        *byte = value;
                    }
                }
                RawTcb(bytes)
            }
        }

        impl From<$name> for Tcb {
            fn from(version: $name) -> Self {
                Self::$product(version)
            }
        }
    };
}

tcb_version!(
    /// A TCB version of Milan.
    MilanTcb, Milan:
    /// The boot loader of the secure processor.
    bootloader at 0,
    /// The operating system of the secure processor.
    tee at 1,
    /// The SNP firmware.
    snp at 6,
    /// The microcode of all cores.
    microcode at 7
);
tcb_version!(
    /// A TCB version of Genoa, Bergamo or Siena.
    GenoaTcb, Genoa:
    /// The boot loader of the secure processor.
    bootloader at 0,
    /// The operating system of the secure processor.
    tee at 1,
    /// The SNP firmware.
    snp at 6,
    /// The microcode of all cores.
    microcode at 7
);
tcb_version!(
    /// A TCB version of Turin.
    TurinTcb, Turin:
    /// The first mutable code of the secure processor.
    fmc at 0,
    /// The boot loader of the secure processor.
    bootloader at 1,
    /// The operating system of the secure processor.
    tee at 2,
    /// The SNP firmware.
    snp at 3,
    /// The microcode of all cores.
    microcode at 7
);

/// A TCB version of a known product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tcb {
    /// Of Milan.
    Milan(MilanTcb),
    /// Of Genoa.
    Genoa(GenoaTcb),
    /// Of Turin.
    Turin(TurinTcb),
}

impl Tcb {
    /// Reads `raw` in the layout of `product`; `None` when a reserved byte is not zero.
    #[must_use]
    pub fn decode(product: Product, raw: RawTcb) -> Option<Self> {
        match product {
            Product::Milan => MilanTcb::decode(raw).map(Self::Milan),
            Product::Genoa => GenoaTcb::decode(raw).map(Self::Genoa),
            Product::Turin => TurinTcb::decode(raw).map(Self::Turin),
        }
    }

    /// The components by name, lowest layer first.
    #[must_use]
    pub fn components(&self) -> Vec<(&'static str, u8)> {
        match self {
            Self::Milan(version) => version.components(),
            Self::Genoa(version) => version.components(),
            Self::Turin(version) => version.components(),
        }
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.components().into_iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{name} {value}")?;
        }
        Ok(())
    }
}

/// The four TCB versions of one report, all of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcbSet<T> {
    pub(crate) current: T,
    pub(crate) reported: T,
    pub(crate) committed: T,
    pub(crate) launch: T,
}

/// [`TcbSet`] of a known product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportTcbs {
    Milan(TcbSet<MilanTcb>),
    Genoa(TcbSet<GenoaTcb>),
    Turin(TcbSet<TurinTcb>),
}

impl ReportTcbs {
    /// Reads current, reported, committed and launch TCB.
    fn decode(product: Product, raw: [RawTcb; 4]) -> Option<Self> {
        match product {
            Product::Milan => decode_set(raw).map(Self::Milan),
            Product::Genoa => decode_set(raw).map(Self::Genoa),
            Product::Turin => decode_set(raw).map(Self::Turin),
        }
    }

    /// The four versions of `report`, in the layout of `product`.
    pub(crate) fn of(product: Product, report: &Report) -> Option<Self> {
        let raw = [report.current_tcb, report.reported_tcb, report.committed_tcb, report.launch_tcb];
        Self::decode(product, raw)
    }

    pub(crate) fn reported(&self) -> Tcb {
        match self {
            Self::Milan(set) => set.reported.into(),
            Self::Genoa(set) => set.reported.into(),
            Self::Turin(set) => set.reported.into(),
        }
    }
}

fn decode_set<T: TcbVersion>([current, reported, committed, launch]: [RawTcb; 4]) -> Option<TcbSet<T>> {
    Some(TcbSet {
        current: T::decode(current)?,
        reported: T::decode(reported)?,
        committed: T::decode(committed)?,
        launch: T::decode(launch)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_layouts_differ_and_reserved_bytes_are_refused() {
        let raw = RawTcb([1, 2, 0, 0, 0, 0, 7, 8]);
        let genoa = GenoaTcb { bootloader: 1, tee: 2, snp: 7, microcode: 8 };
        assert_eq!(GenoaTcb::decode(raw), Some(genoa));
        assert_eq!(genoa.encode(), raw);
        assert_eq!(TurinTcb::decode(raw), None);
        let turin = TurinTcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 8 };
        assert_eq!(TurinTcb::decode(RawTcb([1, 2, 3, 4, 0, 0, 0, 8])), Some(turin));
        for reserved in 2..6 {
            let mut bytes = raw.0;
            bytes[reserved] = 1;
            assert_eq!(MilanTcb::decode(RawTcb(bytes)), None);
        }
    }

    #[test]
    fn below_names_each_lower_component() {
        let floor = GenoaTcb { bootloader: 10, tee: 1, snp: 23, microcode: 84 };
        assert_eq!(floor.below(&floor), []);
        let low = GenoaTcb { bootloader: 9, tee: 200, snp: 22, microcode: 84 };
        assert_eq!(low.below(&floor), [("bootloader", 10, 9), ("snp", 23, 22)]);
    }
}
