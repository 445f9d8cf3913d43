//! What can be asked for over the control socket, and the answers.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use stallbox_devices::atc::AtcEntry;
use stallbox_faultplan::{Beside, Effect, Plan, Rule};
use stallbox_machine::World;
use stallbox_machine::outstanding::Outstanding;
use stallbox_machine::queues::smmu_queues;
use stallbox_machine::vcpu::VcpuState;
use stallbox_timeline::{Span, Time};

use super::tables::{Tables, hex};

/// A request: one line of JSON. `docs/inspect.md` is the reference.
///
/// Those without keys have braces, because serde takes any key for a variant without.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    Status {},
    Pause {},
    Resume {
        #[serde(default, deserialize_with = "maybe_number")]
        for_ns: Option<u64>,
    },
    Stalls {},
    /// All that is under way, and how the vCPUs stand.
    Outstanding {},
    Ste {
        #[serde(default, deserialize_with = "maybe_number")]
        stream: Option<u64>,
    },
    Cd {
        #[serde(deserialize_with = "number")]
        stream: u64,
        #[serde(default, deserialize_with = "maybe_number")]
        pasid: Option<u64>,
    },
    Pt {
        #[serde(deserialize_with = "number")]
        stream: u64,
        #[serde(deserialize_with = "number")]
        pasid: u64,
        #[serde(deserialize_with = "number")]
        address: u64,
    },
    Tlb {},
    /// The translation cache of a device.
    Atc {
        #[serde(deserialize_with = "number")]
        stream: u64,
    },
    Queues {},
    Queue {
        queue: String,
    },
    Rules {},
    Gates {},
    Open {
        gate: String,
    },
    Close {
        gate: String,
    },
    Marker {
        name: String,
    },
    Enable {
        rule: String,
    },
    Disable {
        rule: String,
    },
    /// All draws from now on are those of this seed.
    Seed {
        #[serde(deserialize_with = "number")]
        seed: u64,
    },
    /// A rule takes one match, counted from now on, and no other.
    Only {
        rule: String,
        #[serde(deserialize_with = "number")]
        nth: u64,
    },
    /// Adds the rules of a plan.
    Inject {
        plan: String,
    },
    /// Does what a rule's `do` could do elsewhere, now.
    Now {
        effects: String,
    },
}

/// A number as people write it: decimal, or hexadecimal with 0x.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.ok()
}

/// A JSON integer, or a string with a decimal or hexadecimal one.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::String(text) => parse_number(text),
        other => other.as_u64(),
    };
    number.ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{value} is no number: numbers are integers of 64 bits, or strings with one in decimal, or \
             in hexadecimal with 0x"
        ))
    })
}

fn maybe_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer).map(Some)
}

/// Whether a line asks for something that changes the machine, and not only looks at it or holds it.
pub(super) fn changes(line: &str) -> bool {
    matches!(
        serde_json::from_str(line),
        Ok(Request::Open { .. }
            | Request::Close { .. }
            | Request::Marker { .. }
            | Request::Enable { .. }
            | Request::Disable { .. }
            | Request::Seed { .. }
            | Request::Only { .. }
            | Request::Inject { .. }
            | Request::Now { .. })
    )
}

/// The request that goes on with the draws of a seed.
pub(crate) fn seed(seed: u64) -> String {
    json!({ "do": "seed", "seed": seed }).to_string()
}

/// The request that has a rule take one match alone: the `nth` from there on.
pub(crate) fn only(rule: &str, nth: u64) -> String {
    json!({ "do": "only", "rule": rule, "nth": nth }).to_string()
}

/// The answer to a line that is not done, for this reason.
pub(super) fn refusal(world: &World, why: &str) -> Value {
    json!({ "ok": false, "time_ns": world.now().as_ns(), "error": why })
}

/// The answer to one line.
pub(super) fn answer(line: &str, world: &World, vcpus: &dyn Fn() -> Vec<VcpuState>) -> Value {
    let answered = serde_json::from_str(line)
        .context("this is no request")
        .and_then(|request| perform(request, world, vcpus));
    let time_ns = world.now().as_ns();
    match answered {
        Ok(answer) => json!({ "ok": true, "time_ns": time_ns, "answer": answer }),
        Err(error) => json!({ "ok": false, "time_ns": time_ns, "error": format!("{error:#}") }),
    }
}

fn id(value: u64, what: &str) -> Result<u32> {
    u32::try_from(value).with_context(|| format!("{value:#x} is no {what}: it has 32 bits"))
}

fn perform(request: Request, world: &World, vcpus: &dyn Fn() -> Vec<VcpuState>) -> Result<Value> {
    let faults = &world.faults;
    let tables = Tables {
        smmu: &world.smmu,
        ram: &world.ram,
    };
    let effect = |effect: &Effect| match faults.perform("control", effect) {
        Ok(what) => Ok(json!(what)),
        Err(why) => bail!(why),
    };
    match request {
        Request::Status {} => Ok(json!({
            "paused": world.pause.is_paused(),
            "stalls": world.smmu.outstanding_stalls().len(),
            "rules": faults.player().counts().len(),
            "fault_loops": faults.loops(),
            "ready": world.control.ready_ns().is_some(),
        })),
        Request::Pause {} | Request::Resume { for_ns: Some(_) } if !world.pause.is_possible() => {
            bail!("this engine cannot be paused: only soft can")
        }
        Request::Pause {} => {
            world.pause.set_paused(true);
            Ok(json!("paused"))
        }
        Request::Resume { for_ns } => {
            if let Some(ns) = for_ns {
                let left = Time::NEVER.since(world.now());
                if Span::from_ns(ns) >= left {
                    bail!(
                        "for_ns: {ns} is more than virtual time has left, {} ns",
                        left.as_ns()
                    );
                }
            }
            match for_ns {
                Some(ns) => world.pause.run_until(world.now() + Span::from_ns(ns)),
                None => world.pause.set_paused(false),
            }
            Ok(json!("running"))
        }
        Request::Stalls {} => Ok(stalls(world)),
        Request::Outstanding {} => {
            let outstanding = Outstanding::gather(world, vcpus());
            let mut answer = serde_json::to_value(&outstanding)?;
            answer["text"] = json!(outstanding.to_string());
            Ok(answer)
        }
        Request::Ste { stream: None } => tables.list_stes(),
        Request::Ste {
            stream: Some(stream),
        } => tables.show_ste(id(stream, "StreamID")?),
        Request::Cd {
            stream,
            pasid: None,
        } => tables.list_cds(id(stream, "StreamID")?),
        Request::Cd {
            stream,
            pasid: Some(pasid),
        } => tables.show_cd(id(stream, "StreamID")?, id(pasid, "PASID")?),
        Request::Pt {
            stream,
            pasid,
            address,
        } => tables.show_walk(id(stream, "StreamID")?, id(pasid, "PASID")?, address),
        Request::Tlb {} => Ok(tlb(world)),
        Request::Atc { stream } => atc(world, id(stream, "StreamID")?),
        Request::Queues {} => {
            let (queues, _) = smmu_queues(&world.smmu, &world.ram);
            Ok(serde_json::to_value(queues)?)
        }
        Request::Queue { queue } => tables.show_queue(&queue),
        Request::Rules {} => Ok(rules(world)),
        Request::Gates {} => {
            let gates = faults.gates().list();
            Ok(gates
                .iter()
                .map(|gate| {
                    json!({
                        "gate": gate.name, "open": gate.open, "waiting": gate.waiting,
                        "passed": gate.passed,
                    })
                })
                .collect())
        }
        Request::Open { gate } => {
            check_gate(world, &gate)?;
            effect(&Effect::Open(gate))
        }
        Request::Close { gate } => {
            check_gate(world, &gate)?;
            effect(&Effect::Close(gate))
        }
        Request::Marker { name } => effect(&Effect::Marker(name)),
        Request::Enable { rule } => {
            check_rule(world, &rule)?;
            effect(&Effect::Enable(rule))
        }
        Request::Disable { rule } => {
            check_rule(world, &rule)?;
            effect(&Effect::Disable(rule))
        }
        Request::Seed { seed } => {
            world.reseed(seed);
            Ok(json!("draws are those of the seed from now on"))
        }
        Request::Only { rule, nth } => {
            check_rule(world, &rule)?;
            let rules = faults.player().take_only(&rule, nth);
            Ok(json!(format!("{rules} told")))
        }
        Request::Inject { plan } => {
            let rules = parse(world, &plan)?;
            let count = rules.len();
            for rule in rules {
                if !faults.add(rule) {
                    bail!("there are as many rules as can be");
                }
            }
            Ok(json!(format!("{count} added")))
        }
        Request::Now { effects } => {
            let text = format!("[[rule]]\nat = \"marker\"\n[rule.do]\n{effects}\n");
            let rules = parse(world, &text)?;
            if rules.iter().any(|rule| rule.effects_after_ns > 0) {
                bail!("what is done now cannot wait: leave `effects_after_ns` out, or add a rule");
            }
            let all = rules.iter().flat_map(|rule| &rule.effects);
            // One that cannot be done ends it; those before it are done.
            all.map(effect).collect()
        }
    }
}

fn parse(world: &World, text: &str) -> Result<Vec<Rule>> {
    let counts = world.faults.player().counts();
    let gates = counts.iter().filter_map(|count| count.rule.gate.as_ref());
    let beside = Beside {
        rules: counts.iter().map(|count| count.rule.name.clone()).collect(),
        gates: gates.map(|gate| gate.name.clone()).collect(),
    };
    let plan = Plan::parse_beside(text, &beside).map_err(|error| error.named("request"))?;
    if plan.seed.is_some() || plan.fault_loop.is_some() || plan.smmu != Default::default() {
        bail!("only rules can be added while the machine runs");
    }
    if plan.rules.is_empty() {
        bail!("there is no rule in it");
    }
    Ok(plan.rules)
}

/// A gate that no rule has is a slip in the name.
fn check_rule(world: &World, name: &str) -> Result<()> {
    let counts = world.faults.player().counts();
    if counts.iter().any(|count| count.rule.name == name) {
        return Ok(());
    }
    bail!("there is no rule \"{name}\"")
}

fn check_gate(world: &World, name: &str) -> Result<()> {
    let counts = world.faults.player().counts();
    let gates = counts.iter().filter_map(|count| count.rule.gate.as_ref());
    let there: BTreeSet<&str> = gates.map(|gate| gate.name.as_str()).collect();
    if there.is_empty() {
        bail!("there is no gate \"{name}\": no rule has one");
    }
    if !there.contains(name) {
        let there: Vec<&str> = there.into_iter().collect();
        bail!(
            "there is no gate \"{name}\"; there are: {}",
            there.join(", ")
        );
    }
    Ok(())
}

fn atc(world: &World, stream: u32) -> Result<Value> {
    let entries = world.devices.cached_translations(stream);
    let Some(entries) = entries.map_err(anyhow::Error::msg)? else {
        bail!("the device with StreamID {stream} has no translation cache");
    };
    let entry = |entry: &AtcEntry| {
        let permitted = [
            (entry.read, "read"),
            (entry.write, "write"),
            (entry.execute, "execute"),
        ];
        let permitted = permitted.iter().filter(|(may, _)| *may);
        let permitted: Vec<&str> = permitted.map(|(_, access)| *access).collect();
        json!({
            "pasid": entry.pasid.map(|pasid| pasid.0),
            "address": hex(entry.first),
            "bytes": hex(1 << entry.size_log2.min(63)),
            "output": hex(entry.output),
            "access": permitted.join(", "),
            "privileged": entry.privileged,
        })
    };
    Ok(entries.iter().map(entry).collect())
}

fn stalls(world: &World) -> Value {
    let stalls = world.smmu.outstanding_stalls();
    stalls
        .iter()
        .map(|stall| {
            let transaction = &stall.transaction;
            json!({
                "stream": transaction.stream.0,
                "pasid": transaction.substream.map(|substream| substream.0),
                "stag": stall.stag,
                "address": hex(transaction.address),
                "access": if transaction.access.write { "write" } else { "read" },
            })
        })
        .collect()
}

fn tlb(world: &World) -> Value {
    let entries = world.smmu.tlb();
    entries
        .iter()
        .map(|entry| {
            json!({
                "asid": entry.asid,
                "address": hex(entry.address),
                "bytes": hex(entry.bytes),
                "output": hex(entry.output),
                "level": entry.level,
                "stage": if entry.stage2 { 2 } else { 1 },
                "vmid": entry.vmid,
            })
        })
        .collect()
}

fn rules(world: &World) -> Value {
    let counts = world.faults.player().counts();
    counts
        .iter()
        .map(|count| {
            json!({
                "rule": count.rule.name,
                "line": count.rule.line,
                "at": count.rule.at.name(),
                "on": count.on,
                "matched": count.matched,
                "fired": count.fired,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        match serde_json::from_str::<Request>(line) {
            Ok(request) => panic!("{line} is taken as {request:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_key_that_a_request_does_not_have_is_named() {
        let without = [
            "status", "pause", "stalls", "tlb", "queues", "rules", "gates",
        ];
        for what in without {
            let line = format!("{{\"do\":\"{what}\"}}");
            assert!(serde_json::from_str::<Request>(&line).is_ok(), "{line}");
            let refusal = refusal(&format!("{{\"do\":\"{what}\",\"for_ns\":5}}"));
            assert!(refusal.contains("unknown field `for_ns`"), "{refusal}");
        }
        let known = refusal(r#"{"do":"pt","stream":8,"pasid":1,"adress":0}"#);
        for part in ["`adress`", "`stream`", "`pasid`", "`address`"] {
            assert!(known.contains(part), "{known}");
        }
        assert!(refusal(r#"{"do":"pauze"}"#).contains("`pause`"));
        assert!(refusal(r#"{"do":"resume","for_ns":1,"for_ns":2}"#).contains("duplicate"));
        assert!(refusal(r#"{"do":"pause","do":"resume"}"#).contains("duplicate"));
    }

    #[test]
    fn what_is_no_number_is_shown() {
        for value in ["{\"ns\":1}", "-5", "1.5", "null", "\"zz\"", "[1]"] {
            let refusal = refusal(&format!("{{\"do\":\"resume\",\"for_ns\":{value}}}"));
            assert!(
                refusal.contains(&format!("{value} is no number")),
                "{refusal}"
            );
        }
    }
}
