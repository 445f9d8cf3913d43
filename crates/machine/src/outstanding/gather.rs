//! From the machine to what is told of it.

use std::collections::BTreeSet;
use std::rc::Rc;

use stallbox_aarch64::disassemble;
use stallbox_devices::function::Accelerator;
use stallbox_devices::gic::{CpuInterrupts, InterruptState};
use stallbox_devices::state::{AcceleratorState, EventRingState, QueueState, RingState};
use stallbox_devices::verdict::Purpose;
use stallbox_firmware::layout::{spi, timer_intid};
use stallbox_smmu::view::View;
use stallbox_timeline::Time;

use super::*;
use crate::World;
use crate::check::Caller;
use crate::ledger::{Entries, Told};
use crate::queues::smmu_queues;
use crate::stage1::{Half, read64, reader};
use crate::vcpu::VcpuState;

/// Lines of the console.
const CONSOLE_MAX: usize = 20;
/// First INTID of an LPI (IHI 0069, *INTIDs*).
const FIRST_LPI: u32 = 8192;

impl Outstanding {
    /// What there is now. `vcpus` is how they stand.
    pub fn gather(world: &World, vcpus: Vec<VcpuState>) -> Outstanding {
        let scene = Scene {
            world,
            entries: &world.faults.ledger().entries(),
            now: world.now(),
        };
        let (smmu, next_command) = smmu_queues(&world.smmu, &world.ram);
        let queued = |name: &str| {
            let found = smmu.queues.iter().find(|queue| queue.queue == name);
            found.map_or(0, |queue| u64::from(queue.queued))
        };
        let stalls = scene.stalls(queued("event"));
        let page_requests = scene.page_requests(queued("page-request"));
        let devices = scene.devices();
        let spaces = scene.spaces(&stalls, &devices);
        let mut console = world.console.last_lines();
        console.drain(..console.len().saturating_sub(CONSOLE_MAX));
        let unasked = scene.entries.unasked.iter();
        let gates = world.faults.gates().list().into_iter();
        Outstanding {
            time_ns: scene.now.as_ns(),
            stalls: List::of(stalls),
            unasked_resumes: unasked
                .map(|&(time, stream, stag)| Unasked {
                    time_ns: time.as_ns(),
                    stream,
                    stag,
                })
                .collect(),
            page_requests: List::of(page_requests),
            atc_invalidations: List::of(scene.atc_invalidations()),
            gates: gates
                .filter(|gate| gate.waiting > 0)
                .map(|gate| Gate {
                    gate: gate.name,
                    waiting: gate.waiting,
                })
                .collect(),
            held: List::of(scene.held()),
            lost: List::of(scene.lost()),
            smmu,
            next_command,
            devices,
            vcpus: vcpus.iter().map(|vcpu| scene.vcpu(vcpu, &spaces)).collect(),
            console,
        }
    }
}

struct Scene<'a> {
    world: &'a World,
    entries: &'a Entries,
    now: Time,
}

impl Scene<'_> {
    fn age(&self, since: Time) -> u64 {
        self.now.as_ns().saturating_sub(since.as_ns())
    }

    /// What became of a record or an entry, of `written` ever written, of which `queued` are left.
    fn entry(told: Told, written: u64, queued: u64) -> Entry {
        match told {
            Told::No => Entry::NotWritten,
            Told::Lost => Entry::Lost,
            // The last ones are those that are still there.
            Told::Written(number) if written - number >= queued => Entry::Read,
            Told::Written(_) => Entry::Unread,
        }
    }

    fn device(&self, stream: u32) -> String {
        let accelerators = self.world.devices.accelerators();
        let found = accelerators.iter().find(|(it, _)| *it == stream);
        found
            .map_or("unknown device", |(_, it)| it.name())
            .to_owned()
    }

    fn stalls(&self, queued: u64) -> Vec<Stall> {
        let mut held = self.entries.held.clone();
        let stall = |stall: &stallbox_smmu::Stall| {
            let transaction = &stall.transaction;
            let stream = transaction.stream.0;
            let known = stall
                .stag
                .and_then(|stag| self.entries.stalls.get(&(stream, stag)));
            let known = known.filter(|known| known.transaction == *transaction);
            let since = known.map(|known| known.since).or_else(|| {
                let at = held.iter().position(|(held, _)| held == transaction)?;
                held.remove(at).map(|(_, since)| since)
            });
            let access = self.world.faults.access_of(transaction);
            Stall {
                device: self.device(stream),
                stream,
                pasid: transaction.substream.map(|substream| substream.0),
                queue: access.and_then(|access| access.queue),
                purpose: access.map(|access| purpose(access.purpose)),
                address: transaction.address,
                access: if transaction.access.write {
                    "write"
                } else {
                    "read"
                },
                stag: stall.stag,
                since_ns: since.map(Time::as_ns),
                age_ns: since.map(|since| self.age(since)),
                record: known.map_or(Entry::NotWritten, |known| {
                    Scene::entry(known.record, self.entries.records, queued)
                }),
                record_taken: known.and_then(|known| known.record_taken.clone()),
                answers: known
                    .map_or_else(Vec::new, |known| known.answers.iter().cloned().collect()),
            }
        };
        let mut stalls: Vec<Stall> = self
            .world
            .smmu
            .outstanding_stalls()
            .iter()
            .map(stall)
            .collect();
        stalls.sort_by_key(|stall| stall.since_ns);
        stalls
    }

    fn page_requests(&self, queued: u64) -> Vec<PageRequestGroup> {
        let groups = self.entries.groups.values();
        let mut groups: Vec<PageRequestGroup> = groups
            .map(|group| PageRequestGroup {
                device: self.device(group.request.stream.0),
                stream: group.request.stream.0,
                pasid: group.request.substream.map(|substream| substream.0),
                index: group.request.index,
                address: group.request.address & !0xfff,
                requests: group.requests,
                since_ns: group.since.as_ns(),
                age_ns: self.age(group.since),
                entry: Scene::entry(group.told, self.entries.requests, queued),
            })
            .collect();
        groups.sort_by_key(|group| group.since_ns);
        groups
    }

    fn atc_invalidations(&self) -> Vec<AtcInvalidation> {
        let all = self.entries.invalidations.iter();
        all.map(|it| AtcInvalidation {
            device: self.device(it.stream.0),
            stream: it.stream.0,
            pasid: it.request.substream.map(|substream| substream.0),
            address: it.request.address,
            size_log2: it.request.size_log2,
            since_ns: it.since.as_ns(),
            age_ns: self.age(it.since),
            timed_out: it.timed_out,
        })
        .collect()
    }

    fn held(&self) -> Vec<Held> {
        let waits = self
            .entries
            .waits
            .iter()
            .filter(|wait| !wait.is_over(self.now));
        waits
            .map(|wait| Held {
                took: wait.took.clone(),
                age_ns: self.age(Time::from_ns(wait.took.time_ns)),
            })
            .collect()
    }

    fn lost(&self) -> Vec<RuleLosses> {
        let kept = self.entries.kept.iter();
        kept.map(|(rule, kept)| RuleLosses {
            rule: rule.clone(),
            count: kept.count,
            last: kept.last.iter().cloned().collect(),
        })
        .collect()
    }

    fn devices(&self) -> Vec<Device> {
        let in_flight = self.world.faults.in_flight();
        let accelerators = self.world.devices.accelerators();
        let device = |(stream, accelerator): &(u32, Rc<dyn Accelerator>)| {
            let AcceleratorState {
                queues,
                completion_events,
                failures,
            } = accelerator.state();
            let jobs = self.entries.jobs.iter().filter(|job| job.stream == *stream);
            let jobs = jobs.map(|job| Job {
                queue: job.queue,
                pasid: job.pasid,
                tag: job.tag,
                input_bytes: job.input_bytes,
                since_ns: job.since.as_ns(),
                age_ns: self.age(job.since),
                done: job.done,
            });
            let busy = queues.iter().filter(|queue| queue.is_busy());
            Device {
                device: accelerator.name().to_owned(),
                stream: *stream,
                queues_open: queues.len(),
                queues: List::of(busy.map(queue).collect()),
                eq: completion_events.map(event_ring),
                aeq: failures.map(event_ring),
                jobs: List::of(jobs.collect()),
                dma_in_flight: in_flight.iter().filter(|(it, _)| it == stream).count(),
            }
        };
        accelerators.iter().map(device).collect()
    }

    /// Address spaces that devices work in, each with the first table of its lower half.
    fn spaces(&self, stalls: &[Stall], devices: &[Device]) -> Vec<(Space, u64)> {
        let space = |stream, pasid: Option<u32>| pasid.map(|pasid| (stream, pasid));
        let of_stalls = stalls.iter().map(|stall| space(stall.stream, stall.pasid));
        let of_devices = devices.iter().flat_map(|device| {
            let queues = device.queues.shown.iter().map(|queue| queue.pasid);
            let jobs = device.jobs.shown.iter().map(|job| job.pasid);
            queues.chain(jobs).map(|pasid| space(device.stream, pasid))
        });
        let all: BTreeSet<(u32, u32)> = of_stalls.chain(of_devices).flatten().collect();
        let memory = reader(&self.world.ram);
        let view = View::new(&self.world.smmu, &memory);
        let table = |&(stream, pasid): &(u32, u32)| {
            let cd = view.cd(stream, pasid).ok()?.it;
            let space = Space { stream, pasid };
            cd.v().then(|| (space, cd.ttb(0)))
        };
        all.iter().filter_map(table).collect()
    }

    fn vcpu(&self, vcpu: &VcpuState, spaces: &[(Space, u64)]) -> Vcpu {
        let core = vcpu.core.as_ref();
        Vcpu {
            vcpu: vcpu.index,
            power: vcpu.power,
            el: core.map(Core::el),
            daif: core.map(Core::masks),
            registers: core.cloned(),
            backtrace: core.map_or_else(Vec::new, |core| self.backtrace(vcpu.index, core)),
            instruction: core.and_then(|core| self.instruction(core)),
            space: core.and_then(|core| {
                // TTBR0_EL1.BADDR, without ASID and CnP.
                let table = core.ttbr0 & 0x0000_ffff_ffff_fffe;
                let found = spaces.iter().find(|(_, it)| *it == table);
                found.map(|(space, _)| *space)
            }),
            interrupts: vcpu.interrupts.as_ref().map(interrupts),
        }
    }

    fn instruction(&self, core: &Core) -> Option<String> {
        let half = Half::of(core.pc, core.ttbr0, core.ttbr1, core.tcr);
        // It is aligned, or there is an exception to be taken and no instruction.
        let at = half.translate(&self.world.ram, core.pc)?;
        let both = read64(&self.world.ram, at & !7)?;
        let word = (both >> ((at & 4) * 8)) as u32;
        (core.pc & 3 == 0).then(|| disassemble(word, core.pc).to_string())
    }

    fn backtrace(&self, cpu: usize, core: &Core) -> Vec<Frame> {
        let names = self.world.symbols.names(&self.world.ram);
        if core.el() == 0 {
            // A program's frames are not the kernel's business, nor its names ours.
            return vec![Frame {
                address: core.pc,
                symbol: None,
            }];
        }
        let caller = Caller {
            cpu,
            pc: core.pc,
            frame: core.x[29],
            link: core.x[30],
            current: None,
            half: Half::upper(core.ttbr1, core.tcr),
        };
        let frames = caller.frames(&self.world.ram);
        let frame = |(index, &address): (usize, &u64)| Frame {
            address,
            symbol: names.and_then(|names| match index {
                0 => names.name(address),
                _ => names.name_of_caller(address),
            }),
        };
        let mut frames: Vec<Frame> = frames.iter().enumerate().map(frame).collect();
        // X30 is the way back only until the function calls another; then it leads into itself.
        let function = |frame: &Frame| {
            let symbol = frame.symbol.as_ref()?;
            symbol.split_once('+').map(|(name, _)| name.to_owned())
        };
        if let [first, second, ..] = &frames[..]
            && function(first).is_some()
            && function(first) == function(second)
        {
            frames.remove(1);
        }
        frames
    }
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Submission => "sq",
        Purpose::Completion => "cq",
        Purpose::Event => "eq",
        Purpose::AsyncEvent => "aeq",
        Purpose::Context => "context",
        Purpose::Data => "data",
    }
}

fn ring(state: RingState) -> Ring {
    let RingState {
        head,
        tail,
        entries,
        queued,
    } = state;
    Ring {
        head,
        tail,
        entries,
        queued,
    }
}

fn queue(state: &QueueState) -> Queue {
    Queue {
        queue: state.number,
        pasid: state.pasid,
        sq: state.submission.map(ring),
        cq: state.completion.map(ring),
        tasks: state.tasks,
        stopped: state.stopped,
    }
}

fn event_ring(state: EventRingState) -> EventRing {
    EventRing {
        ring: ring(state.ring),
        unwritten: state.unwritten,
        masked: state.masked,
        interrupted: state.interrupted,
    }
}

fn interrupts(state: &CpuInterrupts) -> Interrupts {
    let interrupt = |it: &InterruptState| Interrupt {
        intid: it.intid,
        name: interrupt_name(it.intid),
        pending: it.pending,
        active: it.active,
        enabled: it.enabled,
        priority: it.priority,
    };
    let mut in_progress = List::of(state.in_progress.iter().map(interrupt).collect());
    in_progress.count += state.more_lpis;
    Interrupts {
        pmr: state.priority_mask,
        running_priority: state.running_priority,
        group1_enabled: state.group1_enabled,
        irq: state.irq,
        in_progress,
    }
}

/// What an interrupt of this machine is.
fn interrupt_name(intid: u32) -> &'static str {
    const NAMES: [(u32, &str); 9] = [
        (timer_intid::VIRTUAL, "virtual timer"),
        (timer_intid::PHYSICAL, "physical timer"),
        (spi::intid(spi::SERIAL0), "ttyS0"),
        (spi::intid(spi::RTC), "clock"),
        (spi::intid(spi::SERIAL1), "ttyS1"),
        (spi::intid(spi::SMMU_EVENTQ), "SMMU event queue"),
        (spi::intid(spi::SMMU_PRIQ), "SMMU page request queue"),
        (spi::intid(spi::SMMU_CMDQ_SYNC), "SMMU CMD_SYNC"),
        (spi::intid(spi::SMMU_GERROR), "SMMU errors"),
    ];
    let found = NAMES.iter().find(|(it, _)| *it == intid);
    match found {
        Some((_, name)) => name,
        None if intid < 16 => "SGI",
        None if intid < 32 => "PPI",
        None if intid >= FIRST_LPI => "LPI (a device's message)",
        None => "SPI",
    }
}
