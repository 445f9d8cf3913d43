//! What is said about pinning, held against the matrix.

use serde::Serialize;

use super::report::Cell;

/// A claim and what the matrix says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// What is claimed.
    pub name: String,
    /// Whether it holds; null if the cells that would tell were not measured.
    pub pass: Option<bool>,
    /// The figures behind the answer.
    pub evidence: String,
}

/// All claims.
pub fn check(cells: &[Cell]) -> Vec<Claim> {
    let matrix = Matrix(cells);
    vec![first_touch(&matrix)]
}

struct Matrix<'a>(&'a [Cell]);

impl Matrix<'_> {
    /// Faults in a cell, or why there is no figure.
    fn faults(&self, row: &str, column: &str) -> Result<u64, String> {
        let cell = self
            .0
            .iter()
            .find(|cell| cell.row == row && cell.column == column)
            .ok_or_else(|| format!("{row} under {column} was not asked for"))?;
        cell.device_faults().ok_or_else(|| {
            format!(
                "{row} under {column}: {}",
                cell.reason.as_deref().unwrap_or("no figures")
            )
        })
    }
}

fn claim(name: &str, outcome: Result<(bool, String), String>) -> Claim {
    let (pass, evidence) = match outcome {
        Ok((pass, evidence)) => (Some(pass), evidence),
        Err(reason) => (None, format!("not checked: {reason}")),
    };
    Claim {
        name: name.to_owned(),
        pass,
        evidence,
    }
}

fn first_touch(matrix: &Matrix) -> Claim {
    let check = || {
        let (none, touched) = (
            matrix.faults("none", "none")?,
            matrix.faults("touched", "none")?,
        );
        Ok((
            none > 0 && touched == 0,
            format!("{none} IO page faults on untouched memory, {touched} on touched memory"),
        ))
    };
    claim("the first touch of unprepared memory faults", check())
}
