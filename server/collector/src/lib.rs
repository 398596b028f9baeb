//! The kernel's audit records, read strictly and told in closed words.
//!
//! [`socket::Kernel`] asks the kernel for its records and receives them, [`record::read`] makes of one what it says, [`fold::Folder`] makes
//! repeats one, [`serials::Serials`] notices which never came. The program puts them together and tells the keeper.
//!
//! A record names paths, programs and arguments, some of which a process that was taken over chooses. None of them is read: what leaves
//! here is types, classes and permissions of the guest's policy, and numbers. The crate has no clock.
//!
//! Promised: any bytes are a record, something else that the kernel told, or [`record::Unreadable`], in time linear in their length; what is not
//! told is counted.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at a surprise"))]

pub mod fold;
pub mod record;
pub mod serials;
pub mod socket;
