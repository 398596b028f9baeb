//! The reason codes of this family.

crate::codes::codes! {}
