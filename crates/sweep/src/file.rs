//! The results file: JSON Lines, the header first, then a line for each run.

use std::io::{self, BufRead, Read, Write};

use serde::Deserialize;

use crate::{Header, RUNS_MAX, Run, Seeds, Sweep};

/// The format's number.
pub const FORMAT: u32 = 1;

/// Bytes that a line may have.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// No results that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// It cannot be read.
    #[error("{file}: it cannot be read")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// It does not begin as one.
    #[error(
        "{file}: these are no results of a sweep: its first line is no JSON object with \"stallbox-sweep\""
    )]
    Other {
        /// The file.
        file: String,
    },
    /// Another Stallbox wrote it.
    #[error(
        "{file}: it has format {format}, and this Stallbox reads format {FORMAT}: use the Stallbox that wrote it"
    )]
    Format {
        /// The file.
        file: String,
        /// Its format.
        format: u64,
    },
    /// A line is not what the format says.
    #[error("{file}, line {line}: {what}")]
    Line {
        /// The file.
        file: String,
        /// Which, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
}

/// What every format has.
#[derive(Deserialize)]
struct Mark {
    #[serde(rename = "stallbox-sweep")]
    format: u64,
}

/// Checks runs as they are read.
struct Checked<'a, I> {
    /// All numbers of the sweep, and those of them that have not come yet.
    all: &'a Seeds,
    ahead: I,
    last: Option<u64>,
}

impl<I: Iterator<Item = u64>> Checked<'_, I> {
    fn take(&mut self, run: &Run) -> Result<(), String> {
        let number = run.number;
        match self.last {
            Some(last) if last == number => return Err(format!("run {number} is there twice")),
            Some(last) if last > number => {
                return Err(format!(
                    "run {number} stands behind run {last}: they go upwards"
                ));
            }
            _ => self.last = Some(number),
        }
        if self.ahead.find(|ahead| *ahead >= number) != Some(number) {
            let all = self.all.shortened(8);
            return Err(format!("run {number} is none of those of this file: {all}"));
        }
        // Whoever puts shards together copies it by this name.
        if let Some(bundle) = &run.bundle
            && (bundle.is_empty() || bundle.starts_with('.') || bundle.contains(['/', '\0']))
        {
            return Err(format!("{bundle:?} is no name of a file"));
        }
        if run.passed() && run.signature.is_some() {
            return Err(format!("run {number} has passed, and has a signature"));
        }
        if !run.passed() && run.signature.is_none() {
            return Err(format!("run {number} has not passed, and has no signature"));
        }
        Ok(())
    }
}

impl Sweep {
    /// Reads results. `file` is what errors call them.
    pub fn read(mut from: impl BufRead, file: &str) -> Result<Sweep, ResultsError> {
        let mut lines = Lines {
            from: &mut from,
            file,
            line: 0,
        };
        let other = || ResultsError::Other { file: file.into() };
        let first = match lines.next() {
            // What is too long or no text is no header.
            Err(ResultsError::Line { .. }) | Ok(None) => return Err(other()),
            first => first?.ok_or_else(other)?,
        };
        let mark: Mark = lines.parse(&first).map_err(|_| other())?;
        if mark.format != u64::from(FORMAT) {
            let (file, format) = (file.into(), mark.format);
            return Err(ResultsError::Format { file, format });
        }
        let header: Header = lines.parse(&first)?;
        let count = header.varied.numbers().len();
        if count > RUNS_MAX {
            return Err(lines.error(format!(
                "{count} are more than the {RUNS_MAX} runs that a sweep may have"
            )));
        }
        let numbers = header.numbers();
        let mut checked = Checked {
            all: &numbers,
            ahead: numbers.iter(),
            last: None,
        };
        let mut runs = Vec::new();
        while let Some(text) = lines.next()? {
            let run = lines.parse(&text)?;
            checked.take(&run).map_err(|what| lines.error(what))?;
            runs.push(run);
        }
        Ok(Sweep { header, runs })
    }

    /// Writes results.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut to, &self.header)?;
        to.write_all(b"\n")?;
        for run in &self.runs {
            serde_json::to_writer(&mut to, run)?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }
}

struct Lines<'a, R> {
    from: &'a mut R,
    file: &'a str,
    line: u64,
}

impl<R: BufRead> Lines<'_, R> {
    fn error(&self, what: impl ToString) -> ResultsError {
        ResultsError::Line {
            file: self.file.into(),
            line: self.line,
            what: what.to_string(),
        }
    }

    fn next(&mut self) -> Result<Option<String>, ResultsError> {
        self.line += 1;
        let mut bytes = Vec::new();
        let mut limited = self.from.by_ref().take(LINE_BYTES_MAX);
        limited
            .read_until(b'\n', &mut bytes)
            .map_err(|source| ResultsError::Read {
                file: self.file.into(),
                source,
            })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.pop() != Some(b'\n') {
            return Err(self.error(if bytes.len() as u64 + 1 == LINE_BYTES_MAX {
                "it is longer than the 1 MiB that a line may have"
            } else {
                "it has no end: the file was cut short"
            }));
        }
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|error| self.error(error.utf8_error()))
    }

    fn parse<'b, T: Deserialize<'b>>(&self, text: &'b str) -> Result<T, ResultsError> {
        // serde takes the fields of a struct from a list, too.
        if !text.starts_with('{') {
            return Err(self.error("it is no JSON object"));
        }
        serde_json::from_str(text).map_err(|error| {
            // "at line 1" would be the line of this text, which has one.
            let words = error.to_string();
            let what = words.rsplit_once(" at line 1 column ");
            self.error(match what {
                Some((what, column)) => format!("{what} (column {column})"),
                None => words,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::results::tests::{header, hung, passed, warned};

    fn sweep() -> Sweep {
        let runs = vec![
            passed(0),
            warned(1, "f"),
            hung(2),
            warned(3, "f"),
            passed(4),
        ];
        Sweep::new(header("0..5"), runs)
    }

    fn text(sweep: &Sweep) -> String {
        let mut bytes = Vec::new();
        sweep.write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn read(text: &str) -> Result<Sweep, ResultsError> {
        Sweep::read(Cursor::new(text), "a.jsonl")
    }

    #[test]
    fn what_is_written_is_read() {
        let sweep = sweep();
        let text = text(&sweep);
        assert_eq!(text.lines().count(), 6);
        assert!(text.starts_with("{\"stallbox-sweep\":1,"), "{text}");
        assert_eq!(read(&text).unwrap(), sweep);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_file_and_line() {
        let good = text(&sweep());
        let why = |text: &str| read(text).unwrap_err().to_string();
        let changed = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            why(&good.replacen(from, to, 1))
        };
        for text in ["", "\n", "{}\n", "[1]\n", "seeds\n", "{\"version\":1}\n"] {
            assert!(
                why(text).contains("a.jsonl: these are no results of a sweep"),
                "{text}"
            );
        }
        assert!(why(&"x".repeat(2 << 20)).contains("no results"));
        let newer = changed("\"stallbox-sweep\":1,", "\"stallbox-sweep\":2,\"more\":0,");
        assert_eq!(
            newer,
            "a.jsonl: it has format 2, and this Stallbox reads format 1: use the Stallbox that wrote it"
        );
        assert!(
            changed("\"begin\"", "\"began\"").starts_with("a.jsonl, line 1: unknown field `began`")
        );
        assert!(changed("\"number\":1,", "\"number\":0,").contains("line 3: run 0 is there twice"));
        assert!(
            changed("\"number\":3,", "\"number\":1,").contains("line 5: run 1 stands behind run 2")
        );
        assert!(
            changed("\"number\":4,", "\"number\":9,")
                .contains("line 6: run 9 is none of those of this file: 0..5")
        );
        assert!(changed("\"passed\"", "\"well\"").contains("line 2: unknown variant `well`"));
        assert!(
            changed("\"passed\"", "\"failed\"")
                .contains("line 2: run 0 has not passed, and has no signature")
        );
        assert!(changed("WARNING in f", "WARNING in g").contains("line 3: signature "));
        assert!(
            changed("\"seeds\":\"0..5\"", "\"seeds\":\"5..0\"")
                .contains("line 1: the range 5..0 has nothing in it")
        );
        assert!(why(&good[..good.len() - 5]).contains("line 6: it has no end"));
        let outside = changed("\"f-1.sbx\"", "\"../f.sbx\"");
        assert!(outside.contains("line 3: \"../f.sbx\" is no name of a file"));
        let places = r#"{"places":{"rule":"r","count":18446744073709551615}}"#;
        let many = changed(
            r#"{"seeds":"0..5"}"#,
            &format!("{places},\"shard\":\"1/2\""),
        );
        assert!(
            many.contains("line 1: 18446744073709551615 are more than"),
            "{many}"
        );
        assert!(why(&format!("{good}[5]\n")).contains("line 7: it is no JSON object"));
        let long = format!("{good}\"{}\"\n", "x".repeat(1 << 20));
        assert!(why(&long).contains("line 7: it is longer than the 1 MiB"));
        let mut bytes = good.clone().into_bytes();
        bytes.extend(b"\xff\n");
        let error = Sweep::read(Cursor::new(bytes), "a.jsonl").unwrap_err();
        assert!(
            error.to_string().contains("line 7: invalid utf-8"),
            "{error}"
        );
    }

    #[test]
    fn results_of_a_sweep_that_was_cut_short_are_read() {
        let mut text = text(&sweep());
        text.truncate(text.trim_end().rfind('\n').unwrap() + 1);
        assert_eq!(read(&text).unwrap().missing().to_string(), "4");
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_panics(
            at in any::<prop::sample::Index>(),
            bytes in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let mut good = text(&sweep()).into_bytes();
            let at = at.index(good.len());
            good.splice(at..(at + bytes.len()).min(good.len()), bytes);
            if let Ok(sweep) = Sweep::read(Cursor::new(good), "a.jsonl") {
                let _ = (sweep.summary(), sweep.missing());
            }
        }
    }
}
