//! The verifier on real TDX quotes: all samples with their stated verdicts, and one test for each refusal that can be
//! reached without signing anything anew.

#[cfg(test)]
mod real;
#[cfg(test)]
mod support;
