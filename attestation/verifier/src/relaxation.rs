//! What [`crate::dangerous`] may loosen in a policy.

/// The rules that are loosened; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relaxations {
    pub(crate) simulated: bool,
    pub(crate) debug: bool,
    pub(crate) migration_agent: bool,
}

/// A policy that [`crate::dangerous`] can loosen. Only policies of this crate are.
pub trait Relax: sealed::Sealed {
    /// Changes the relaxations of this policy and of every policy in it.
    #[doc(hidden)]
    fn relax(&mut self, change: fn(&mut Relaxations));
}

pub(crate) mod sealed {
    /// Keeps [`super::Relax`] to this crate.
    pub trait Sealed {}
}
