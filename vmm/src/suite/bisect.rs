//! `stallbox bisect`: a step of `git bisect run`.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use stallbox_guest_images::{self as guest_images, Definition, Error};
use stallbox_output::{print, tell};
use stallbox_suite::{Report, Verdict};

use super::FAILED;
use super::course::Course;
use super::guests::{self, Guests};
use super::read::Read;
use crate::cli::BisectArgs;
use crate::signals;

/// Tells `git bisect run` that nothing is known of what is checked out.
const SKIP: u8 = 125;
/// Ends it: git-bisect(1), all that is greater than 127.
const ABORT: u8 = 128;
/// The image that is built.
const IMAGE: &str = "bisect";

/// Does the step, and gives the exit status that `git bisect run` wants.
pub fn bisect(args: &BisectArgs) -> Result<u8> {
    step(args).or_else(|error| {
        tell!("stallbox: {error:#}");
        Ok(ABORT)
    })
}

fn step(args: &BisectArgs) -> Result<u8> {
    let mut scenario = Read::file(&args.scenario)?;
    scenario.only(args.case.as_slice());
    let groups = &mut scenario.scenario.groups;
    let Some(first) = groups.first().cloned() else {
        bail!("--case: there is no such case");
    };
    if let Some(other) = groups.iter().find(|group| group.case != first.case) {
        bail!(
            "the scenario has several cases (\"{}\", \"{}\"): say with --case which one is looked for",
            first.case.unwrap_or_default(),
            other.case.as_deref().unwrap_or_default()
        );
    }
    let told_to_end = signals::flag()?;
    let mut guests = Guests::new(false)?;
    if let Some(source) = &args.kernel_source {
        // The tree stands for all kernels.
        groups.retain(|group| group.kernel == first.kernel);
        let definition = Definition {
            kernel_source: Some(source.clone()),
            config: args.config.clone(),
            ..Definition::default()
        };
        match guests::build(&guest_images::source_root()?, IMAGE, Some(definition)) {
            Ok(()) => {}
            Err(error @ (Error::Build { .. } | Error::Config { .. } | Error::Patch { .. })) => {
                let error = anyhow::Error::new(error);
                tell!("stallbox: the kernel does not build: {error:#}");
                return Ok(SKIP);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(build) = &args.build
        && !run(build)?
    {
        tell!("stallbox: what is checked out does not build: {build} has failed");
        return Ok(SKIP);
    }
    let groups = scenario.scenario.groups.iter();
    let planned = groups.map(|group| {
        let words = match &args.kernel_source {
            Some(_) => Ok(vec![format!("--image={IMAGE}")]),
            None => guests.words(&scenario, group),
        };
        scenario.plan(group, words)
    });
    let planned: Vec<_> = planned.collect();
    if let Some(why) = planned.iter().find_map(|it| it.made.as_ref().err()) {
        bail!("{why}");
    }
    let mut course = Course::open(&args.results, told_to_end)?;
    let cases = course.go(planned, &mut |case| Ok(print(format_args!("{case}\n"))?))?;
    let report = Report { cases };
    course.finish()?;
    if course.is_over() {
        bail!("a signal has ended it");
    }
    Ok(match () {
        () if report.count(Verdict::Failed) > 0 => FAILED,
        () if report.count(Verdict::Error) > 0 => SKIP,
        () => 0,
    })
}

/// Whether a command for the host's shell succeeds. What it prints goes to standard error.
fn run(command: &str) -> Result<bool> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    shell.stdout(std::io::stderr());
    let status = shell.status().context("cannot start sh (--build)")?;
    Ok(status.success())
}
