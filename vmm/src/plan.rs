//! Fault plans on the command line.

use std::path::Path;

use anyhow::{Context, Result};
use stallbox_faultplan::{Effect, Plan};
use stallbox_output::print;

use crate::cli::PlanCheckArgs;

/// Reads the plan in a file. Mistakes in it are told with their lines.
pub fn read(path: &Path) -> Result<Plan> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the fault plan {} (--plan)", path.display()))?;
    Plan::parse(&text).map_err(|error| error.named(&path.display().to_string()).into())
}

/// `stallbox plan check`: says what a plan's rules are, or what is wrong with it.
pub fn check(args: &PlanCheckArgs) -> Result<u8> {
    for path in &args.plans {
        let plan = read(path)?;
        let rules = match plan.rules.len() {
            1 => "1 rule".to_owned(),
            rules => format!("{rules} rules"),
        };
        let mut text = format!("{}: {rules}\n", path.display());
        for rule in &plan.rules {
            let (line, name, at) = (rule.line, &rule.name, rule.at.name());
            text += &format!("  line {line}: {name} at {at}\n");
        }
        print(text)?;
    }
    Ok(0)
}

/// `stallbox plan schema`.
pub fn schema() -> Result<u8> {
    print(format_args!("{:#}\n", stallbox_faultplan::schema()))?;
    Ok(0)
}

/// The name of a rule that pauses the run, if there is one.
pub fn pausing_rule(plan: &Plan) -> Option<&str> {
    let mut rules = plan.rules.iter();
    let rule = rules.find(|rule| rule.effects.contains(&Effect::Pause))?;
    Some(&rule.name)
}
