//! How a build tells what it is doing.

/// Receives the progress of a build. The builder knows nothing of terminals.
pub trait Progress {
    /// A step begins, and the one before it is over. `total` is in the step's own units, if known.
    fn step(&self, name: &str, total: Option<u64>);
    /// So many units of the step are done.
    fn advance(&self, done: u64);
    /// Something that the user should read even if the build succeeds.
    fn say(&self, line: &str);
}

/// Progress for those who do not want any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _name: &str, _total: Option<u64>) {}
    fn advance(&self, _done: u64) {}
    fn say(&self, _line: &str) {}
}
