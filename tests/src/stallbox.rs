//! What the tests run, and on what: the command and the guest image.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use stallbox_guest_images::{self as guest_images, GuestImage};

use crate::{repository, slots};

/// The `stallbox` to test: that of the environment variable `STALLBOX`, or the release build,
/// which is brought up to date first. Not the tests' own profile: boots take long enough.
pub fn stallbox() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os("STALLBOX") {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(
                path.is_file(),
                "STALLBOX names {}, which is no file",
                path.display()
            );
            path
        }
        None => build(),
    })
}

fn build() -> PathBuf {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--release",
            "--package",
            "stallbox",
            "--bin",
            "stallbox",
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(repository(""))
        .stdin(Stdio::null())
        .output()
        .expect("cannot start cargo");
    assert!(
        output.status.success(),
        "stallbox does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Only artifacts that can be run name an executable, and one was asked for.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo built no executable")
}

/// Runs a command of Stallbox's in a folder.
pub fn stallbox_in(folder: &Path, words: &[&str]) -> Output {
    image();
    let _slot = slots::take();
    let output = Command::new(stallbox())
        .current_dir(folder)
        .args(words)
        .stdin(Stdio::null())
        .output();
    output.expect("stallbox can be started")
}

/// The project's own guest image. A test without it has failed: it must not look as if it passed.
pub fn image() -> &'static GuestImage {
    static IMAGE: OnceLock<GuestImage> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let recipe = guest_images::source_root().expect("the recipe is in the checkout");
        guest_images::cached(&recipe)
            .expect("the guest image has not been built: run `cargo xtask image` first")
    })
}
