//! Which guests a measurement needs, and what each is to do.

use std::sync::Arc;

use crate::matrix::{self, Device, Heading};
use crate::report::Settings;

/// What the guest is called that measures beside the matrix.
pub(crate) const BESIDE: &str = "beside";

/// The column without activity.
pub(crate) const IDLE: &str = "none";

/// What one guest is for.
pub struct Script {
    /// What it has to work with.
    pub device: Device,
    /// Added to the kernel's command line.
    pub append: String,
    /// Run by its shell.
    pub text: String,
}

/// Some rows of a column, measured by one guest.
pub(crate) struct Part {
    pub column: &'static Heading,
    pub rows: Vec<&'static Heading>,
    pub script: Arc<Script>,
}

impl Part {
    /// Whether a part of the column without activity tells that there is no need to try.
    pub(crate) fn may_be_denied(&self) -> bool {
        self.script.device.translates() && self.column.name != IDLE
    }
}

/// The kernel's log must not cost the guest time.
const QUIET: &str = "dmesg -n 1";

/// All guests of the matrix, column after column.
pub(crate) fn parts(
    settings: &Settings,
    rows: &[&'static Heading],
    columns: &[&'static Heading],
) -> Vec<Part> {
    let of_column = |column: &'static Heading| {
        Device::ALL.into_iter().filter_map(move |device| {
            let rows: Vec<&Heading> = rows
                .iter()
                .copied()
                .filter(|row| Device::of(row.name) == device)
                .collect();
            let names: String = rows
                .iter()
                .map(|row| format!(" --row {}", row.name))
                .collect();
            let script = Arc::new(Script {
                device,
                append: matrix::command_line(column.name, settings.memory_bytes),
                text: format!(
                    "{QUIET}; exec pinbench --column {} --regions {} --slots {} --passes {} \
                     --result --quiet{names}",
                    column.name, settings.regions, settings.slots, settings.passes
                ),
            });
            (!rows.is_empty()).then_some(Part {
                column,
                rows,
                script,
            })
        })
    };
    columns.iter().copied().flat_map(of_column).collect()
}

/// The guest of what is measured beside the matrix.
pub(crate) fn beside_script() -> Script {
    let commands = ["ratio", "rules", "release"]
        .map(|command| format!("pinbench {command} --result --quiet"))
        .join(" && ");
    Script {
        device: Device::Zip,
        append: String::new(),
        text: format!("{QUIET}; {commands}"),
    }
}

/// How many guests it takes.
pub fn guests(
    settings: &Settings,
    rows: &[&'static Heading],
    columns: &[&'static Heading],
) -> usize {
    parts(settings, rows, columns).len() + 1
}
