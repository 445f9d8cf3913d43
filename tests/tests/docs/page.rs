//! A page of the documentation, and the sessions that it shows.

use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use stallbox_tests::repository;

/// A fenced block.
pub(crate) struct Block {
    /// The words behind the fence.
    pub info: String,
    pub text: String,
    /// Line of the page, counted from 0, on which the text begins.
    pub line: usize,
}

/// A command with what it is said to print.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub command: String,
    pub output: String,
    /// Line of the page, counted from 0, on which the output begins.
    pub line: usize,
}

/// All pages: the README, those of `docs` and of the guest images.
pub(crate) fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "guest-images/README.md"]
        .iter()
        .map(|page| repository(page))
        .filter(|page| page.is_file())
        .collect();
    let docs = fs::read_dir(repository("docs")).expect("docs can be read");
    let mut docs: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    docs.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    docs.sort();
    pages.extend(docs);
    pages
}

/// The fenced blocks of a page.
pub(crate) fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", page.display()));
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (event, range) in Parser::new(&text).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                open = true;
                blocks.push(Block {
                    info: info.to_string(),
                    text: String::new(),
                    line: text[..range.start].lines().count() + 1,
                });
            }
            Event::End(TagEnd::CodeBlock) => open = false,
            Event::Text(piece) if open => {
                let block = blocks.last_mut().expect("a block is open");
                block.text.push_str(&piece);
            }
            _ => {}
        }
    }
    blocks
}

impl Block {
    /// Whether it shows a session.
    pub(crate) fn is_session(&self) -> bool {
        self.info.split_whitespace().next() == Some("console")
    }

    /// Whether its figures are examples.
    pub(crate) fn is_example(&self) -> bool {
        self.info.split_whitespace().any(|word| word == "example")
    }

    /// The commands of a `console` block: each begins with `$ `, goes on with `> ` after a backslash or
    /// an open quote, and is followed by what it prints.
    pub(crate) fn session(&self) -> Vec<Shown> {
        let mut session: Vec<Shown> = Vec::new();
        for (number, line) in self.text.lines().enumerate() {
            let next = self.line + number + 1;
            if let Some(command) = line.strip_prefix("$ ") {
                session.push(Shown {
                    command: command.to_owned(),
                    output: String::new(),
                    line: next,
                });
                continue;
            }
            let shown = session
                .last_mut()
                .expect("a console block begins with a command");
            match line.strip_prefix("> ") {
                Some(more) if shown.output.is_empty() => {
                    shown.command.push('\n');
                    shown.command.push_str(more);
                    shown.line = next;
                }
                _ => {
                    // What is left out may be indented as what is shown.
                    let line = if line.trim() == "..." { "..." } else { line };
                    shown.output.push_str(line);
                    shown.output.push('\n');
                }
            }
        }
        session
    }
}

#[test]
fn a_session_is_commands_with_what_they_print() {
    let block = Block {
        info: "console".into(),
        text: "$ one \\\n> more\n1\n2\n$ two\n".into(),
        line: 10,
    };
    let shown = |command: &str, output: &str, line| Shown {
        command: command.into(),
        output: output.into(),
        line,
    };
    assert_eq!(
        block.session(),
        [shown("one \\\nmore", "1\n2\n", 12), shown("two", "", 15)]
    );
}
