//! What the documentation shows is what happens.
//!
//! A fenced block marked `console` is a session: each line that begins with `$ ` is run by `sh`, and
//! what the command prints, standard error included, must be what the page shows below it. There
//! `...` alone in a line stands for any lines, `[..]` for anything within a line, and times "on this
//! host" may be others; behind `console example` all figures may. A command must succeed unless the next one is `echo $?`. The sessions of a
//! page share an empty folder that has `docs`, and the machine's `PATH` with `stallbox` in front.
//!
//! `STALLBOX_DOCS_OVERWRITE=1 cargo test -p stallbox-tests --test docs` brings the pages up to date.

#![forbid(unsafe_code)]

mod commands;
mod page;
mod schemas;
mod session;

macro_rules! pages {
    ($($name:ident: $page:literal),* $(,)?) => {
        $(
            #[test]
            #[cfg_attr(feature = "kvm", ignore = "pages show what the soft engine prints")]
            fn $name() {
                session::check($page);
            }
        )*

        const PAGES: &[&str] = &[$($page),*];
    };
}

pages! {
    bundles: "docs/bundles.md",
    checkers: "docs/checkers.md",
    fault_plans: "docs/fault-plans.md",
    hangs: "docs/hangs.md",
    hisi_registers: "docs/hisi-registers.md",
    images: "docs/images.md",
    inspect: "docs/inspect.md",
    measuring: "docs/measuring.md",
    readme: "README.md",
    scenarios: "docs/scenarios.md",
    schedules: "docs/schedules.md",
    sweeps: "docs/sweeps.md",
    test_engine: "docs/test-engine.md",
    trace: "docs/trace.md",
}

/// Every page with a session is run.
#[test]
fn no_page_is_left_out() {
    let shows = |page: &std::path::Path| {
        let blocks = page::blocks(page);
        blocks.iter().any(|block| block.is_session())
    };
    let found: Vec<_> = page::pages()
        .into_iter()
        .filter(|page| shows(page))
        .collect();
    let mut listed: Vec<_> = PAGES
        .iter()
        .map(|page| stallbox_tests::repository(page))
        .collect();
    let mut found = found;
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
}

/// Prose is read beside other things. Tables have a row a line, and code is as it is.
#[test]
fn lines_of_prose_are_not_wide() {
    let mut wide = Vec::new();
    let all = page::pages().into_iter();
    for page in all.chain([stallbox_tests::repository("CHANGELOG.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        let mut is_code = false;
        for (number, line) in text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            if !is_code && !line.starts_with('|') && line.chars().count() >= 120 {
                wide.push(format!("{}:{}", page.display(), number + 1));
            }
        }
    }
    assert!(wide.is_empty(), "120 columns and more: {wide:#?}");
}
