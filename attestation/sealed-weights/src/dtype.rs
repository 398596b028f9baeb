//! Element types of tensors, from both containers.

use serde::{Deserialize, Serialize};

/// Which container a file of weights is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// <https://github.com/huggingface/safetensors>.
    Safetensors,
    /// <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
    Gguf,
}

impl Container {
    /// The most bytes before the first tensor.
    pub(crate) const fn max_data_start(self) -> u64 {
        match self {
            Self::Safetensors => {
                crate::safetensors::LENGTH_LEN + crate::safetensors::MAX_SAFETENSORS_HEADER_LEN
            }
            Self::Gguf => crate::gguf::MAX_GGUF_HEADER_LEN,
        }
    }
}

/// The element types with their names, the elements and bytes of one block, the container that has them under which number.
macro_rules! dtypes {
    ($($variant:ident $name:literal $elements:literal $bytes:literal $safetensors:literal $ggml:expr;)+) => {
        /// The element type of a tensor. The names are those of the containers' formats.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Dtype {
            $(#[doc = concat!("`", $name, "`: ", $elements, " in ", $bytes, " bytes.")] #[serde(rename = $name)] $variant,)+
        }

        impl Dtype {
            /// Every element type.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Elements and bytes of the smallest unit that is stored whole.
            #[must_use]
            pub const fn block(self) -> (u64, u64) {
                match self {
                    $(Self::$variant => ($elements, $bytes),)+
                }
            }

            /// Whether the container can hold the type.
            #[must_use]
            pub const fn is_of(self, container: Container) -> bool {
                let (safetensors, ggml): (bool, Option<u32>) = match self {
                    $(Self::$variant => ($safetensors, $ggml),)+
                };
                match container {
                    Container::Safetensors => safetensors,
                    Container::Gguf => ggml.is_some(),
                }
            }

            /// The type that ggml gives this number, if it is one that is stored.
            pub(crate) const fn from_ggml(number: u32) -> Option<Self> {
                $(
                    if let Some(own) = $ggml && own == number {
                        return Some(Self::$variant);
                    }
                )+
                None
            }
        }
    };
}

dtypes! {
    Bool "BOOL" 1 1 true None::<u32>;
    U8 "U8" 1 1 true None::<u32>;
    I8 "I8" 1 1 true Some(24);
    F8E5M2 "F8_E5M2" 1 1 true None::<u32>;
    F8E4M3 "F8_E4M3" 1 1 true None::<u32>;
    F8E8M0 "F8_E8M0" 1 1 true None::<u32>;
    F4 "F4" 2 1 true None::<u32>;
    F6E2M3 "F6_E2M3" 4 3 true None::<u32>;
    F6E3M2 "F6_E3M2" 4 3 true None::<u32>;
    I16 "I16" 1 2 true Some(25);
    U16 "U16" 1 2 true None::<u32>;
    F16 "F16" 1 2 true Some(1);
    Bf16 "BF16" 1 2 true Some(30);
    I32 "I32" 1 4 true Some(26);
    U32 "U32" 1 4 true None::<u32>;
    F32 "F32" 1 4 true Some(0);
    F64 "F64" 1 8 true Some(28);
    I64 "I64" 1 8 true Some(27);
    U64 "U64" 1 8 true None::<u32>;
    C64 "C64" 1 8 true None::<u32>;
    Q4_0 "Q4_0" 32 18 false Some(2);
    Q4_1 "Q4_1" 32 20 false Some(3);
    Q5_0 "Q5_0" 32 22 false Some(6);
    Q5_1 "Q5_1" 32 24 false Some(7);
    Q8_0 "Q8_0" 32 34 false Some(8);
    Q2K "Q2_K" 256 84 false Some(10);
    Q3K "Q3_K" 256 110 false Some(11);
    Q4K "Q4_K" 256 144 false Some(12);
    Q5K "Q5_K" 256 176 false Some(13);
    Q6K "Q6_K" 256 210 false Some(14);
    Iq2Xxs "IQ2_XXS" 256 66 false Some(16);
    Iq2Xs "IQ2_XS" 256 74 false Some(17);
    Iq3Xxs "IQ3_XXS" 256 98 false Some(18);
    Iq1S "IQ1_S" 256 50 false Some(19);
    Iq4Nl "IQ4_NL" 32 18 false Some(20);
    Iq3S "IQ3_S" 256 110 false Some(21);
    Iq2S "IQ2_S" 256 82 false Some(22);
    Iq4Xs "IQ4_XS" 256 136 false Some(23);
    Iq1M "IQ1_M" 256 56 false Some(29);
    Tq1_0 "TQ1_0" 256 54 false Some(34);
    Tq2_0 "TQ2_0" 256 66 false Some(35);
    Mxfp4 "MXFP4" 32 17 false Some(39);
    Nvfp4 "NVFP4" 64 36 false Some(40);
}

impl Dtype {
    /// Bytes of `elements` elements; `None` when they do not fill whole blocks or 64 bits do not count the bytes.
    #[must_use]
    pub fn bytes_of(self, elements: u64) -> Option<u64> {
        let (block_elements, block_bytes) = self.block();
        if !elements.is_multiple_of(block_elements) {
            return None;
        }
        (elements / block_elements).checked_mul(block_bytes)
    }

    /// Elements in `bytes` bytes of whole blocks.
    #[must_use]
    pub const fn elements_in(self, bytes: u64) -> u64 {
        let (block_elements, block_bytes) = self.block();
        (bytes / block_bytes).saturating_mul(block_elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_distinct_and_read_back() {
        let mut names = Vec::new();
        for dtype in Dtype::ALL {
            assert_eq!(serde_json::to_string(dtype).unwrap(), format!("\"{}\"", dtype.as_str()));
            assert!(dtype.is_of(Container::Safetensors) || dtype.is_of(Container::Gguf));
            names.push(dtype.as_str());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Dtype::ALL.len());
        let numbered: Vec<Dtype> = (0..1_000).filter_map(Dtype::from_ggml).collect();
        let stored: Vec<&Dtype> = Dtype::ALL.iter().filter(|dtype| dtype.is_of(Container::Gguf)).collect();
        assert_eq!(numbered.len(), stored.len());
        assert!(stored.iter().all(|dtype| numbered.contains(dtype)));
        // Q8_1 and Q8_K exist in memory only; 4, 5 and 31 to 33 were taken out of ggml.
        for gone in [4, 5, 9, 15, 31, 32, 33, u32::MAX] {
            assert_eq!(Dtype::from_ggml(gone), None);
        }
    }

    #[test]
    fn counts_whole_blocks_only() {
        assert_eq!(Dtype::F32.bytes_of(3), Some(12));
        assert_eq!(Dtype::Q4_0.bytes_of(64), Some(36));
        assert_eq!(Dtype::Q4_0.bytes_of(63), None);
        assert_eq!(Dtype::F4.bytes_of(6), Some(3));
        assert_eq!(Dtype::F6E2M3.bytes_of(2), None);
        assert_eq!(Dtype::F64.bytes_of(u64::MAX), None);
        for dtype in Dtype::ALL {
            let (elements, bytes) = dtype.block();
            assert_eq!(dtype.bytes_of(3 * elements), Some(3 * bytes));
            assert_eq!(dtype.elements_in(3 * bytes), 3 * elements);
            assert_eq!(dtype.bytes_of(0), Some(0));
        }
        assert_eq!(Dtype::Q2K.elements_in(u64::MAX), u64::MAX);
    }
}
