//! `stallbox test` and `stallbox bisect`: scenarios, their runs, and what came of them.

mod bisect;
mod course;
mod guests;
mod read;

use anyhow::Result;
use stallbox_machine::outcome::Outcome;
use stallbox_output::print;
use stallbox_suite::{Report, Verdict};

use crate::cli::TestArgs;
use crate::output::OutputFile;
use crate::signals;
use course::Course;
use guests::Guests;
use read::Read;

pub use bisect::bisect;

/// Exit status if a run is not as it must be.
const FAILED: u8 = 1;

/// Tests, and gives Stallbox's exit status.
pub fn test(args: &TestArgs) -> Result<u8> {
    if args.schema {
        let schema = stallbox_suite::schema(&read::options());
        print(format_args!("{schema:#}\n"))?;
        return Ok(0);
    }
    let mut scenarios = Vec::new();
    for path in read::files(&args.scenarios)? {
        let mut scenario = Read::file(&path)?;
        scenario.only(&args.case);
        scenarios.push(scenario);
    }
    if let Some(name) = args.case.iter().find(|name| {
        let mut groups = scenarios.iter().flat_map(|it| &it.scenario.groups);
        !groups.any(|group| group.case.as_ref() == Some(*name))
    }) {
        anyhow::bail!("--case: there is no case \"{name}\"");
    }
    if args.check {
        for scenario in &scenarios {
            print(scenario.describe())?;
        }
        return Ok(0);
    }
    let told_to_end = signals::flag()?;
    let mut junit = OutputFile::open_named(args.junit.as_ref(), "--junit", || false)?;
    let mut json = OutputFile::open_named(args.json.as_ref(), "--json", || false)?;
    let mut course = Course::open(&args.results, told_to_end)?;
    let mut guests = Guests::new(args.build)?;
    let mut planned = Vec::new();
    for scenario in &scenarios {
        for group in &scenario.scenario.groups {
            planned.push(scenario.plan(group, guests.words(scenario, group)));
        }
    }
    for file in [&mut junit, &mut json].into_iter().flatten() {
        file.begin()?;
    }
    let cases = course.go(planned, &mut |case| {
        print(format_args!("{case}\n"))?;
        if let Some(json) = &json {
            json.json_line(case);
        }
        Ok(())
    })?;
    let report = Report { cases };
    let _ = junit
        .as_ref()
        .map(|file| file.fill(|out| report.junit(out).map_err(std::io::Error::other)));
    print(report.summary())?;
    for file in [&junit, &json].into_iter().flatten() {
        file.finish()?;
    }
    course.finish()?;
    Ok(match () {
        () if course.is_over() => Outcome::NO_STATUS,
        () if report.count(Verdict::Error) > 0 => Outcome::ERROR,
        () if report.count(Verdict::Failed) > 0 => FAILED,
        () => 0,
    })
}
