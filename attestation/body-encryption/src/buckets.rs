//! Sizes to pad to.

use std::fmt;

/// Sizes in bytes, ascending. What is longer than the last is padded to a multiple of it. The fewer the sizes, the less a length says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    sizes: Vec<usize>,
    largest: usize,
}

/// Why sizes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketsError {
    /// There is none, or more than 64.
    Count,
    /// One is zero, over 65,536, or not above the one before it.
    Order,
}

impl fmt::Display for BucketsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "from 1 to 64 sizes are needed",
            Self::Order => "sizes go from 1 to 65536, every one above the one before it",
        })
    }
}

impl std::error::Error for BucketsError {}

const MAX_SIZES: usize = 64;
const MAX_SIZE: usize = 65_536;

impl Buckets {
    /// Takes the sizes.
    ///
    /// # Errors
    /// [`BucketsError`] when they are none, too many, out of order or out of range.
    pub fn new(sizes: &[usize]) -> Result<Self, BucketsError> {
        let Some(largest) = sizes.last().copied().filter(|_| sizes.len() <= MAX_SIZES) else {
            return Err(BucketsError::Count);
        };
        let mut before = 0;
        for &size in sizes {
            if size <= before || size > MAX_SIZE {
                return Err(BucketsError::Order);
            }
            before = size;
        }
        Ok(Self { sizes: sizes.to_vec(), largest })
    }

    /// The size that `length` is padded to: at least `length`.
    #[must_use]
    pub fn fit(&self, length: usize) -> usize {
        let fitting = self.sizes.partition_point(|size| *size < length);
        match self.sizes.get(fitting) {
            Some(size) => *size,
            None => length.checked_next_multiple_of(self.largest).unwrap_or(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_gets_the_next_size_and_beyond_the_last_a_multiple() {
        let buckets = Buckets::new(&[16, 100]).unwrap();
        let fitted = [0, 1, 16, 17, 100, 101, 200, 201].map(|length| buckets.fit(length));
        assert_eq!(fitted, [16, 16, 16, 100, 100, 200, 200, 300]);
        assert_eq!(buckets.fit(usize::MAX), usize::MAX);
    }

    #[test]
    fn refuses_sizes_that_are_none() {
        for (sizes, error) in [
            (vec![], BucketsError::Count),
            ((1..=65).collect(), BucketsError::Count),
            (vec![0, 1], BucketsError::Order),
            (vec![2, 2], BucketsError::Order),
            (vec![3, 2], BucketsError::Order),
            (vec![65_537], BucketsError::Order),
        ] {
            assert_eq!(Buckets::new(&sizes), Err(error));
        }
        assert!(Buckets::new(&[1, 65_536]).is_ok());
        assert!(
            BucketsError::Count.to_string().contains("64")
                && BucketsError::Order.to_string().contains("65536")
        );
    }
}
