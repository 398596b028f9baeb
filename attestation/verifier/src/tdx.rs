//! Intel TDX: the quote, the platform's chain and collateral, TCB levels, and the appraisal policy.

pub mod codes;
