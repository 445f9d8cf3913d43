//! `stallbox measure`, run as a user runs it.

use std::fmt;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::{image, slots, stallbox};

/// A measurement that has ended. Its `Display` is what to show when something is not as expected.
pub struct Measured {
    /// What `--json` wrote.
    pub json: Value,
    /// What `--csv` wrote.
    pub csv: String,
    /// What `--html` wrote.
    pub html: String,
    status: Option<i32>,
    table: String,
    errors: String,
}

/// Runs `stallbox measure` with these options.
pub fn measure(options: &[&str]) -> Measured {
    measure_while(options, |_| {})
}

/// The same; `act` is called with the PID while it runs.
pub fn measure_while(options: &[&str], act: impl FnOnce(u32)) -> Measured {
    // Without it no guest can be booted; Stallbox would say so, but less clearly.
    image();
    let folder = tempfile::tempdir().expect("cannot make a temporary folder");
    let path = |name| folder.path().join(name);
    let slot = slots::take();
    let child = Command::new(stallbox())
        .args(["measure", "--json"])
        .arg(path("json"))
        .arg("--csv")
        .arg(path("csv"))
        .arg("--html")
        .arg(path("html"))
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot start stallbox");
    let pid = child.id();
    // What it prints is read meanwhile, and waited for before the PID is another's.
    let output = thread::scope(|scope| {
        let output = scope.spawn(|| child.wait_with_output());
        act(pid);
        output.join().expect("the reader")
    })
    .expect("cannot wait for stallbox");
    drop(slot);
    let read = |name| fs::read_to_string(path(name)).unwrap_or_default();
    Measured {
        csv: read("csv"),
        html: read("html"),
        json: serde_json::from_str(&read("json")).unwrap_or(Value::Null),
        status: output.status.code(),
        table: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Measured {
    /// The measurement, if it ended with this status.
    #[track_caller]
    pub fn status(self, expected: i32) -> Measured {
        assert_eq!(
            self.status,
            Some(expected),
            "the exit status is another one\n{self}"
        );
        self
    }

    /// What it printed.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// All of standard error.
    pub fn errors(&self) -> &str {
        &self.errors
    }

    /// The JSON without what belongs to the host.
    pub fn essence(&self) -> Value {
        let mut json = self.json.clone();
        let host = json.as_object_mut().and_then(|json| json.remove("host"));
        assert!(host.is_some(), "the JSON has no part for the host\n{self}");
        json
    }

    /// What became of a claim: the first whose name begins so.
    #[track_caller]
    pub fn claim(&self, begin: &str) -> &Value {
        let claims = self.json["claims"].as_array();
        claims
            .into_iter()
            .flatten()
            .find(|claim| {
                claim["name"]
                    .as_str()
                    .is_some_and(|it| it.starts_with(begin))
            })
            .unwrap_or_else(|| panic!("there is no claim \"{begin}...\"\n{self}"))
    }

    /// A cell of the JSON.
    #[track_caller]
    pub fn cell(&self, row: &str, column: &str) -> &Value {
        let cells = self.json["cells"].as_array();
        cells
            .into_iter()
            .flatten()
            .find(|cell| cell["row"] == row && cell["column"] == column)
            .unwrap_or_else(|| panic!("there is no cell {row}, {column}\n{self}"))
    }

    /// A number of a cell that was measured, by its JSON pointer.
    #[track_caller]
    pub fn number(&self, row: &str, column: &str, pointer: &str) -> u64 {
        let cell = self.cell(row, column);
        cell.pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("{row}, {column} has no {pointer}: {cell}\n{self}"))
    }

    /// IO page faults of a cell.
    #[track_caller]
    pub fn faults(&self, row: &str, column: &str) -> u64 {
        self.number(row, column, "/faults/device")
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "status {:?}\n{}\nstandard error:\n{}",
            self.status, self.table, self.errors
        )
    }
}
