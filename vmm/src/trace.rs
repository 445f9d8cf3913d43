//! Traces on the command line.

use anyhow::Result;
use stallbox_output::print;

/// `stallbox trace schema`.
pub fn schema() -> Result<u8> {
    print(format_args!("{:#}\n", stallbox_trace::schema()))?;
    Ok(0)
}
