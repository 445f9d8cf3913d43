//! What the end-to-end tests are made with: a guest, booted by the command `stallbox` as a user
//! boots one, and what it left behind.
//!
//! ```no_run
//! use stallbox_tests::Guest;
//!
//! let run = Guest::new().cpus(4).run("nproc").success();
//! assert_eq!(run.output(), "4\n", "{run}");
//! ```
//!
//! The tests are in `tests/e2e`, a file for each topic. They need the guest image (`cargo xtask
//! image`) and run the `stallbox` that the environment variable `STALLBOX` names, or else the
//! workspace's own release build.
//!
//! With the feature `kvm` they run on the KVM engine (`cargo xtask test-kvm`). Tests of what only the
//! soft engine promises, virtual time and runs that repeat, are ignored there and say why.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod browser;
mod guest;
mod measure;
mod run;
mod script;
mod skipped;
mod slots;
mod stallbox;
mod stalls;
mod trace;

pub use browser::Browser;
pub use guest::{ENGINE, Guest};
pub use measure::{Measured, measure, measure_while};
pub use run::{Run, Summary};
pub use skipped::{LIST as SKIPPED, skipped};
pub use slots::{Slot, take as slot};
pub use stallbox::{image, stallbox, stallbox_in};
pub use stalls::Stalls;
pub use trace::Record;

use std::env;
use std::path::{Path, PathBuf};

/// A file of the repository, by its path from the root. The environment variable
/// `STALLBOX_REPOSITORY` names a root where the one that this was compiled in is not there.
pub fn repository(path: &str) -> PathBuf {
    let compiled_in = || {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the tests are a folder of the workspace")
            .to_owned()
    };
    env::var_os("STALLBOX_REPOSITORY")
        .map_or_else(compiled_in, PathBuf::from)
        .join(path)
}
