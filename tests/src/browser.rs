//! A page in headless Chromium.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::skipped;

/// Names under which distributions have it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser that shows one page, given as text.
pub struct Browser {
    program: PathBuf,
    folder: TempDir,
}

impl Browser {
    /// None, with a remark, if this machine has no Chromium.
    pub fn find() -> Option<Browser> {
        let path = env::var_os("PATH").unwrap_or_default();
        let program = env::split_paths(&path)
            .flat_map(|folder| NAMES.map(|name| folder.join(name)))
            .find(|program| program.is_file());
        if program.is_none() {
            skipped("no Chromium on this machine (`cargo xtask test` installs it)");
        }
        Some(Browser {
            program: program?,
            folder: tempfile::tempdir().expect("cannot make a temporary folder"),
        })
    }

    /// Evaluates a JavaScript expression in the page, in a window of this width; its value must be
    /// one that JSON has. The page's own policy against scripts is taken out for it.
    pub fn evaluate(&self, page: &str, width: u32, expression: &str) -> Value {
        const MARK: &str = "stallbox-value:";
        let policy = page
            .lines()
            .find(|line| line.contains("Content-Security-Policy"))
            .expect("the page has a policy");
        let script = format!(
            "<script>parent.document.title = '{MARK}' + encodeURIComponent(JSON.stringify({expression}));\
             </script></body>"
        );
        let page = page.replace(policy, "").replace("</body>", &script);
        let output = self.run(&framed(&page, width), &["--dump-dom"]);
        let document = String::from_utf8_lossy(&output);
        let value = document
            .split_once(MARK)
            .and_then(|(_, rest)| rest.split_once('<'))
            .map(|(value, _)| decode(value))
            .unwrap_or_else(|| panic!("the expression had no value: {expression}"));
        serde_json::from_str(&value).unwrap_or_else(|error| panic!("{error}: {value}"))
    }

    /// A picture of the page as it is, in PNG.
    pub fn picture(&self, page: &str, width: u32) -> Vec<u8> {
        let path = self.folder.path().join("picture.png");
        let option = format!("--screenshot={}", path.display());
        self.run(&framed(page, width), &[&option]);
        fs::read(&path).expect("Chromium took no picture")
    }

    fn run(&self, page: &str, options: &[&str]) -> Vec<u8> {
        let path = self.folder.path().join("page.html");
        fs::write(&path, page).expect("cannot write the page");
        let profile = tempfile::tempdir().expect("cannot make a temporary folder");
        let output = Command::new(&self.program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ])
            .arg(user_data(profile.path()))
            .arg("--window-size=1300,1200")
            .args(options)
            .arg(format!("file://{}", path.display()))
            .stdin(Stdio::null())
            .output()
            .expect("cannot start Chromium");
        assert!(
            output.status.success(),
            "Chromium ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

/// In a frame of this width: Chromium's own windows cannot be as narrow as a phone.
fn framed(page: &str, width: u32) -> String {
    let quoted = page.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<!DOCTYPE html><title></title><body style=\"margin:0\">\
         <iframe style=\"border:0;width:{width}px;height:1200px\" srcdoc=\"{quoted}\"></iframe>"
    )
}

fn user_data(folder: &Path) -> String {
    format!("--user-data-dir={}", folder.display())
}

/// Percent-encoding, as `encodeURIComponent` makes it.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap_or(0), rest.next().unwrap_or(0)];
            let digits = std::str::from_utf8(&digits).unwrap_or_default();
            bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("JavaScript encodes UTF-8")
}
