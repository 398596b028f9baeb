//! The vectors in tests/vectors/body-encryption.
