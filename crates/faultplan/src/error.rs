//! What is wrong with a plan, and where.

use std::fmt;
use std::ops::Range;

/// One mistake, with the place that it points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// What would be right, if there is something to say.
    pub help: Option<String>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// How many characters of the line are meant, at least 1.
    pub width: usize,
    /// The line's text.
    pub text: String,
}

/// Longest line of a plan that is shown whole.
const SHOWN_MAX: usize = 160;

impl Mistake {
    /// A mistake in `span`, in bytes, of `source`.
    pub fn new(
        source: &str,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Mistake {
        let start = floor_boundary(source, span.start);
        let end = floor_boundary(source, span.end.max(start));
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..]
            .find('\n')
            .map_or(source.len(), |at| start + at);
        let text = source[line_start..line_end].trim_end_matches('\r');
        Mistake {
            message: message.into(),
            help,
            line: source[..start].matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
            width: source[start..end.min(line_end)].chars().count().max(1),
            text: text.to_owned(),
        }
    }
}

/// Spans come from a parser, but a slip there must not be a panic here.
fn floor_boundary(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Why a text is no plan: all the mistakes that were found, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// What the text is called: its path.
    pub name: String,
    /// The mistakes.
    pub mistakes: Vec<Mistake>,
}

impl PlanError {
    /// The same, of a text with another name.
    pub fn named(mut self, name: &str) -> PlanError {
        name.clone_into(&mut self.name);
        self
    }
}

impl std::error::Error for PlanError {}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let Mistake {
                message,
                help,
                line,
                column,
                width,
                text,
            } = mistake;
            writeln!(f, "{}:{line}:{column}: {message}", self.name)?;
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            // Tabs stay tabs, so that the marks stand below what they mark.
            let shown: String = text.chars().take(SHOWN_MAX).collect();
            let pad: String = text
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {shown}")?;
            if *column <= SHOWN_MAX {
                let marks = "^".repeat((*width).min(SHOWN_MAX - column + 1));
                write!(f, "{margin} | {pad}{marks}")?;
            } else {
                write!(f, "{margin} |")?;
            }
            if let Some(help) = help {
                write!(f, "\n{margin} = {help}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_shows_its_line_with_marks_below() {
        let source = "seed = 1\n\tat = \"nöwhere\"\n";
        let at = source.find('"').unwrap();
        let mistake = Mistake::new(
            source,
            at..at + 10,
            "there is no point \"nöwhere\"",
            Some("there are: a, b".into()),
        );
        let error = PlanError {
            name: "p.toml".into(),
            mistakes: vec![mistake],
        };
        assert_eq!(
            error.to_string(),
            "p.toml:2:7: there is no point \"nöwhere\"\n  |\n2 | \tat = \"nöwhere\"\n  | \t     \
             ^^^^^^^^^\n  = there are: a, b"
        );
    }

    #[test]
    fn a_place_at_the_end_of_the_text_is_one() {
        let mistake = Mistake::new("x = ", 4..4, "a value is missing", None);
        assert_eq!((mistake.line, mistake.column, mistake.width), (1, 5, 1));
        let mistake = Mistake::new("", 7..9, "nothing", None);
        assert_eq!((mistake.line, mistake.column), (1, 1));
    }
}
