//! Every `stallbox` command that a page names is one that the command line takes.

use std::path::Path;

use clap::Parser;
use pulldown_cmark::Event;
use stallbox_vmm::cli::Cli;

use crate::page::{blocks, pages};

/// The commands of a page: lines of its blocks, and what stands in the text between backticks. There a
/// command without an option may be the short name of one with arguments.
fn commands(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).expect("a page can be read");
    let inline = pulldown_cmark::Parser::new(&text).filter_map(|event| match event {
        Event::Code(code) if code.contains(" --") => Some(code.to_string()),
        _ => None,
    });
    let mut all: Vec<String> = inline.collect();
    for block in blocks(page) {
        let joined = block.text.replace("\\\n> ", "").replace("\\\n", "");
        let lines = joined
            .lines()
            .map(|line| line.strip_prefix("$ ").unwrap_or(line));
        all.extend(lines.map(str::to_owned));
    }
    all
}

/// The words of the `stallbox` commands in a line of shell, without what is there for the reader only.
fn stallbox(line: &str) -> Vec<Vec<String>> {
    // Alternatives, and what is left out, are not commands but descriptions of many.
    let described = ["...", "[", " | ", "|add", "|pri"]
        .iter()
        .any(|mark| line.contains(mark));
    let Some(words) = shlex::split(line).filter(|_| !described) else {
        return Vec::new();
    };
    let ends = |word: &String| ["&&", "||", "|", ";", "&"].contains(&word.as_str());
    let commands = words.split(ends);
    commands
        .filter(|words| words.first().is_some_and(|word| word == "stallbox") && words.len() > 1)
        .map(|words| {
            let kept = words.iter().take_while(|word| !word.contains(['<', '>']));
            kept.cloned().collect()
        })
        .collect()
}

#[test]
fn the_command_line_takes_every_documented_command() {
    let mut seen = 0;
    let mut refused = Vec::new();
    for page in pages() {
        for command in commands(&page).iter().flat_map(|line| stallbox(line)) {
            seen += 1;
            if let Err(error) = Cli::try_parse_from(&command)
                && error.use_stderr()
            {
                refused.push(format!(
                    "{}: {}\n{error}",
                    page.display(),
                    command.join(" ")
                ));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(seen > 50, "only {seen} commands were found");
}

#[test]
fn commands_are_found_in_lines_of_shell() {
    let found = stallbox("a && stallbox run -- 'b c' > d # stallbox no");
    assert_eq!(found, [["stallbox", "run", "--", "b c"]]);
    assert!(stallbox("stallbox run --engine soft ...").is_empty());
}
