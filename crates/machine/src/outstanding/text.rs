//! What is under way, for people: what tells most comes first, and nothing that is empty is mentioned.

use std::fmt::{self, Display, Formatter};

use super::*;

impl Display for Outstanding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.stalls(f)?;
        self.page_requests(f)?;
        self.atc_invalidations(f)?;
        self.rules(f)?;
        self.devices
            .iter()
            .try_for_each(|device| self.device(f, device))?;
        self.smmu(f)?;
        self.vcpus.iter().try_for_each(|vcpu| show_vcpu(f, vcpu))
    }
}

/// "1 stall", "2 stalls".
fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

fn rest<T>(f: &mut Formatter<'_>, list: &List<T>) -> fmt::Result {
    match list.rest() {
        0 => Ok(()),
        rest => writeln!(f, "  and {rest} more"),
    }
}

/// A span in the unit in which it is short.
fn span(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{} us", ns / 1000),
        10_000_000..10_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}

fn with_pasid(pasid: Option<u32>) -> String {
    pasid.map_or_else(|| "no PASID".to_owned(), |pasid| format!("PASID {pasid}"))
}

impl Outstanding {
    /// In a few words for each thing that waits, without numbers that are others in each run: what tells one
    /// hang from another.
    pub fn kinds(&self) -> Vec<String> {
        let stall = |stall: &Stall| {
            let what = match (stall.record, stall.answers.last()) {
                (_, Some(took)) => format!("its {} {}", subject(took), fate(took)),
                (Entry::NotWritten, None) => "its event record not written".to_owned(),
                (Entry::Unread, None) => "its event record not read".to_owned(),
                (Entry::Lost, None) => "its event record lost".to_owned(),
                (Entry::Read, None) => "its event record read".to_owned(),
            };
            format!("a stall of {}, {what}", stall.device)
        };
        let mut kinds: Vec<String> = self.stalls.shown.iter().map(stall).collect();
        if self.page_requests.count > 0 {
            kinds.push("a page request group without response".to_owned());
        }
        if self.atc_invalidations.count > 0 {
            kinds.push("an ATC invalidation not completed".to_owned());
        }
        let waits = self.gates.iter().filter(|gate| gate.waiting > 0);
        kinds.extend(waits.map(|gate| format!("something at gate \"{}\"", gate.gate)));
        let next = self.next_command.iter();
        kinds.extend(next.map(|command| format!("{command} not executed")));
        kinds
    }
}

/// What became of something that a rule took.
fn fate(took: &Took) -> String {
    let rule = format!("rule \"{}\"", took.rule);
    match (took.act.as_str(), &took.gate) {
        ("drop", _) => format!("dropped by {rule}"),
        (act, gate) => {
            let mut fate = match act {
                "go" => format!("taken by {rule}"),
                act => format!("changed by {rule} ({act})"),
            };
            if let Some(gate) = gate {
                fate += &format!(", at gate \"{gate}\"");
            }
            if took.delay_ns > 0 {
                fate += &format!(", delayed by {}", span(took.delay_ns));
            }
            fate
        }
    }
}

impl Outstanding {
    fn stalls(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.stalls.count > 0 {
            writeln!(f, "{} outstanding:", counted(self.stalls.count, "stall"))?;
        }
        self.stalls
            .shown
            .iter()
            .try_for_each(|it| show_stall(f, it))?;
        rest(f, &self.stalls)?;
        for unasked in &self.unasked_resumes {
            writeln!(
                f,
                "a CMD_RESUME named tag {} of StreamID {} at {} ns, and no such stall waited",
                unasked.stag, unasked.stream, unasked.time_ns
            )?;
        }
        Ok(())
    }

    fn page_requests(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let groups = &self.page_requests;
        if groups.count > 0 {
            let what = counted(groups.count, "page request group");
            writeln!(f, "{what} without a response:")?;
        }
        for group in &groups.shown {
            writeln!(
                f,
                "  {} (StreamID {}), {}, group {}, {} from {:#x}, for {}: {}",
                group.device,
                group.stream,
                with_pasid(group.pasid),
                group.index,
                counted(group.requests as usize, "request"),
                group.address,
                span(group.age_ns),
                match group.entry {
                    Entry::NotWritten => "not in the queue",
                    Entry::Unread => "in the queue, unread (SMMU_PRIQ_CONS is before it)",
                    Entry::Read => "read by software (SMMU_PRIQ_CONS is behind it)",
                    Entry::Lost => "lost before the queue",
                }
            )?;
        }
        rest(f, groups)
    }

    fn atc_invalidations(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let all = &self.atc_invalidations;
        if all.count > 0 {
            let what = counted(all.count, "ATC invalidation");
            writeln!(f, "{what} not completed:")?;
        }
        for it in &all.shown {
            let range = match it.size_log2 {
                64.. => "all addresses".to_owned(),
                bits => format!("{:#x}, {:#x} bytes", it.address, 1_u64 << bits),
            };
            let given_up = if it.timed_out { ", given up" } else { "" };
            writeln!(
                f,
                "  {} (StreamID {}), {}, {range}, for {}{given_up}",
                it.device,
                it.stream,
                with_pasid(it.pasid),
                span(it.age_ns)
            )?;
        }
        rest(f, all)
    }

    fn rules(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for gate in &self.gates {
            writeln!(
                f,
                "gate \"{}\" is closed: {} at it",
                gate.gate,
                waiting(gate.waiting)
            )?;
        }
        if self.held.count > 0 {
            writeln!(f, "held by rules:")?;
        }
        for held in &self.held.shown {
            let took = &held.took;
            writeln!(
                f,
                "  {} {}, for {}",
                subject(took),
                fate(took),
                span(held.age_ns)
            )?;
        }
        rest(f, &self.held)?;
        for lost in &self.lost.shown {
            let Some(last) = lost.last.last() else {
                continue;
            };
            // The stall itself has told of it.
            if lost.count == 1 && self.stalls.shown.iter().any(|stall| stall.was_taken(last)) {
                continue;
            }
            let count = match lost.count {
                1 => String::new(),
                count => format!(", the last of {count}"),
            };
            writeln!(
                f,
                "{} {} at {} ns{count}",
                subject(last),
                fate(last),
                last.time_ns
            )?;
        }
        rest(f, &self.lost)
    }

    fn device(&self, f: &mut Formatter<'_>, device: &Device) -> fmt::Result {
        let open = match device.queues_open {
            0 => "no queues".to_owned(),
            count => format!(
                "{} open, {} busy",
                counted(count, "queue"),
                device.queues.count
            ),
        };
        let jobs = match device.jobs.count {
            0 => "no job".to_owned(),
            count => counted(count, "job"),
        };
        writeln!(
            f,
            "{} (StreamID {}): {open}, {jobs} under way, {} in flight",
            device.device,
            device.stream,
            counted(device.dma_in_flight, "DMA transaction"),
        )?;
        for queue in &device.queues.shown {
            let stopped = queue
                .stopped
                .map_or(String::new(), |why| format!(", {why}"));
            writeln!(
                f,
                "  queue {}, {}{}{}{stopped}",
                queue.queue,
                with_pasid(queue.pasid),
                show_ring("SQ", queue.sq),
                show_ring("CQ", queue.cq)
            )?;
        }
        rest(f, &device.queues)?;
        for job in &device.jobs.shown {
            let done = if job.done {
                ", result there, completion not written"
            } else {
                ""
            };
            writeln!(
                f,
                "  job of queue {}, {}, tag {:#x}, {} bytes, for {}{done}",
                job.queue,
                with_pasid(job.pasid),
                job.tag,
                job.input_bytes,
                span(job.age_ns)
            )?;
        }
        rest(f, &device.jobs)?;
        for (name, ring) in [("EQ", &device.eq), ("AEQ", &device.aeq)] {
            let Some(ring) = ring else { continue };
            if ring.ring.queued > 0 || ring.unwritten > 0 {
                let masked = if ring.masked {
                    ", interrupt masked"
                } else {
                    ""
                };
                let sent = if ring.interrupted {
                    ", interrupt sent"
                } else {
                    ""
                };
                let text = show_ring(name, Some(ring.ring));
                writeln!(f, "  {}{masked}{sent}", text.trim_start_matches(", "))?;
            }
        }
        Ok(())
    }

    fn smmu(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let off = if self.smmu.smmu_enabled { "" } else { " off," };
        write!(f, "SMMU:{off}")?;
        for (index, queue) in self.smmu.queues.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let queued = match (queue.enabled, queue.queued) {
                (false, _) => "off".to_owned(),
                (true, 0) => "empty".to_owned(),
                (true, count) => format!("{count} queued"),
            };
            let overflow = if queue.overflow { ", overflow" } else { "" };
            write!(
                f,
                "{comma} {} queue PROD {} CONS {} ({queued}{overflow})",
                queue.queue, queue.prod, queue.cons
            )?;
        }
        if let Some(next) = &self.next_command {
            write!(f, ", next {next}")?;
        }
        if self.smmu.command_error != "CERROR_NONE" {
            write!(f, ", CMDQ_CONS.ERR {}", self.smmu.command_error)?;
        }
        for error in &self.smmu.gerror {
            write!(f, ", GERROR.{error}")?;
        }
        writeln!(f)
    }
}

/// "1 waits", "2 wait".
fn waiting(count: usize) -> String {
    let s = if count == 1 { "s" } else { "" };
    format!("{count} wait{s}")
}

/// What a rule took, in a few words.
fn subject(took: &Took) -> String {
    let mut text = match (took.at, took.code) {
        ("command", Some(code)) => named(stallbox_faultplan::COMMANDS, code),
        ("record", Some(code)) => format!("record {}", named(stallbox_faultplan::EVENTS, code)),
        ("interrupt", Some(code)) => {
            format!("interrupt {}", named(stallbox_faultplan::LINES, code))
        }
        ("mailbox", Some(code)) => {
            format!(
                "mailbox command {}",
                named(stallbox_faultplan::MAILBOX_COMMANDS, code)
            )
        }
        ("msi", Some(code)) => format!("MSI {code}"),
        ("register_write", Some(code)) => format!("write of register {code:#x}"),
        ("doorbell_write", _) => {
            let ring = took.ring.unwrap_or_default().to_uppercase();
            format!(
                "{ring} doorbell with index {}",
                took.value.unwrap_or_default()
            )
        }
        ("atc_completion", _) => "completion of an ATC invalidation".to_owned(),
        (at, _) => at.replace('_', " "),
    };
    if let Some(stream) = took.stream {
        text += &format!(" of StreamID {stream}");
    }
    if let Some(pasid) = took.pasid {
        text += &format!(", PASID {pasid}");
    }
    if let Some(queue) = took.queue {
        text += &format!(", queue {queue}");
    }
    if let Some(stag) = took.stag {
        text += &format!(", tag {stag}");
    }
    if let Some(address) = took.address {
        text += &format!(", {address:#x}");
    }
    text
}

fn named(names: &[(&str, u32)], code: u32) -> String {
    let found = names.iter().find(|(_, it)| *it == code);
    found.map_or_else(|| format!("{code:#x}"), |(name, _)| (*name).to_owned())
}

fn show_ring(name: &str, ring: Option<Ring>) -> String {
    ring.map_or_else(String::new, |ring| {
        format!(
            ", {name} head {} tail {} of {} ({} queued)",
            ring.head, ring.tail, ring.entries, ring.queued
        )
    })
}

fn show_stall(f: &mut Formatter<'_>, stall: &Stall) -> fmt::Result {
    write!(f, "  {} (StreamID {})", stall.device, stall.stream)?;
    if let Some(queue) = stall.queue {
        write!(f, ", queue {queue}")?;
    }
    write!(
        f,
        ", {}, {} of {:#x}",
        with_pasid(stall.pasid),
        stall.access,
        stall.address
    )?;
    if let Some(purpose) = stall.purpose {
        write!(f, " ({purpose})")?;
    }
    if let Some(stag) = stall.stag {
        write!(f, ", tag {stag}")?;
    }
    match (stall.since_ns, stall.age_ns) {
        (Some(since), Some(age)) => writeln!(f, ", for {} (since {since} ns)", span(age))?,
        _ => writeln!(f)?,
    }
    if stall.stag.is_none() {
        return writeln!(
            f,
            "    its report is held back: the event queue takes no record, or as many stalls as can be \
             are unanswered"
        );
    }
    write!(f, "    ")?;
    match (stall.record, &stall.record_taken) {
        (Entry::Read, _) => write!(f, "its event record was read by software")?,
        (Entry::Unread, _) => {
            write!(
                f,
                "its event record is in the queue, unread (SMMU_EVENTQ_CONS is before it)"
            )?;
        }
        (Entry::NotWritten | Entry::Lost, Some(took)) => {
            write!(f, "its event record was {}", fate(took))?;
        }
        (Entry::NotWritten, None) => write!(f, "its event record is not in the queue")?,
        (Entry::Lost, None) => write!(f, "its event record was lost")?,
    }
    if stall.answers.is_empty() {
        write!(f, "; no command has named its tag")?;
    }
    for took in &stall.answers {
        write!(
            f,
            "; its CMD_RESUME was {} at {} ns",
            fate(took),
            took.time_ns
        )?;
    }
    writeln!(f)
}

fn show_vcpu(f: &mut Formatter<'_>, vcpu: &Vcpu) -> fmt::Result {
    let power = match vcpu.power {
        Power::Off => return writeln!(f, "vCPU {}: off", vcpu.vcpu),
        Power::Running => "running",
        Power::Waiting => "waits for an interrupt (WFI)",
        Power::Unknown => "stopped",
    };
    write!(f, "vCPU {}: {power}", vcpu.vcpu)?;
    let (Some(core), Some(el)) = (&vcpu.registers, vcpu.el) else {
        return writeln!(f);
    };
    write!(f, " at EL{el}")?;
    if let Some(space) = vcpu.space {
        let (stream, pasid) = (space.stream, space.pasid);
        write!(
            f,
            ", in the address space of PASID {pasid} of StreamID {stream}"
        )?;
    }
    write!(f, ", DAIF {}", core.masks())?;
    if let Some(interrupts) = &vcpu.interrupts {
        write!(f, ", PMR {:#x}", interrupts.pmr)?;
        if interrupts.running_priority != 0xff {
            write!(f, ", running priority {:#x}", interrupts.running_priority)?;
        }
        if !interrupts.group1_enabled {
            write!(f, ", group 1 disabled")?;
        }
    }
    writeln!(f)?;
    for (index, frame) in vcpu.backtrace.iter().enumerate() {
        write!(f, "  #{index} {:#x}", frame.address)?;
        if let Some(symbol) = &frame.symbol {
            write!(f, " {symbol}")?;
        }
        match &vcpu.instruction {
            Some(instruction) if index == 0 => writeln!(f, ": {instruction}")?,
            _ => writeln!(f)?,
        }
    }
    // An idle one's registers tell nothing; the summary has them.
    if vcpu.power != Power::Waiting {
        let names = (0..31).map(|index| (format!("x{index}"), core.x[index]));
        let all: Vec<_> = names.chain([("sp".to_owned(), core.sp)]).collect();
        for row in all.chunks(4) {
            let cells = row
                .iter()
                .map(|(name, value)| format!("{name:>3} {value:016x}"));
            writeln!(f, "  {}", cells.collect::<Vec<_>>().join(" "))?;
        }
    }
    let Some(interrupts) = &vcpu.interrupts else {
        return Ok(());
    };
    for interrupt in &interrupts.in_progress.shown {
        let state = match (interrupt.pending, interrupt.active) {
            (true, true) => "pending and active",
            (true, false) => "pending",
            _ => "active",
        };
        let priority = interrupt.priority.unwrap_or(0);
        let masked = if interrupt.enabled == Some(false) {
            ", disabled"
        } else if interrupt.pending && priority >= interrupts.pmr {
            ", masked by PMR"
        } else if interrupt.pending && core.pstate >> 7 & 1 != 0 {
            ", masked by PSTATE.I"
        } else {
            ""
        };
        writeln!(
            f,
            "  interrupt {}, {}: {state}{masked}",
            interrupt.intid, interrupt.name
        )?;
    }
    rest(f, &interrupts.in_progress)
}
