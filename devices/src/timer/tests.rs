//! The timer as `drivers/clocksource/arm_arch_timer.c` (Linux 6.12) uses it.

use super::*;

const HZ: u32 = 62_500_000;

/// A line that remembers its level.
#[derive(Default)]
struct Probe(Cell<bool>);

impl IrqLine for Probe {
    fn set(&self, asserted: bool) {
        self.0.set(asserted);
    }
}

struct Rig {
    timeline: Timeline,
    timers: Timers,
    virtual_lines: Vec<Rc<Probe>>,
    physical_lines: Vec<Rc<Probe>>,
}

impl Rig {
    fn new(frequency_hz: u32, cpus: usize) -> Rig {
        let timeline = Timeline::new();
        let probes = || {
            (0..cpus)
                .map(|_| Rc::new(Probe::default()))
                .collect::<Vec<_>>()
        };
        let (virtual_lines, physical_lines) = (probes(), probes());
        let lines = virtual_lines
            .iter()
            .zip(&physical_lines)
            .map(|(v, p)| TimerLines {
                virtual_timer: v.clone(),
                physical_timer: p.clone(),
            });
        let timers = Timers::new(timeline.clone(), frequency_hz, lines.collect());
        Rig {
            timeline,
            timers,
            virtual_lines,
            physical_lines,
        }
    }

    fn get(&self, register: u16) -> u64 {
        let now = self.timeline.now();
        self.timers
            .sysreg_read(0, register, now)
            .expect("a readable register")
    }

    fn set(&self, register: u16, value: u64) {
        let now = self.timeline.now();
        self.timers
            .sysreg_write(0, register, value, now)
            .expect("a writable register");
    }

    fn virtual_level(&self) -> bool {
        self.virtual_lines[0].0.get()
    }
}

/// Encodings as `arch/arm64/tools/sysreg` and `asm/sysreg.h` have them.
#[test]
fn encodings_are_the_architecture_s() {
    let packed = |op1: u16, crm: u16, op2: u16| 0xc000 | op1 << 11 | 14 << 7 | crm << 3 | op2;
    assert_eq!(CNTKCTL_EL1, packed(0, 1, 0));
    assert_eq!(
        [CNTFRQ_EL0, CNTPCT_EL0, CNTVCT_EL0],
        [0, 1, 2].map(|op2| packed(3, 0, op2))
    );
    assert_eq!(
        [CNTP_TVAL_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0],
        [0, 1, 2].map(|op2| packed(3, 2, op2))
    );
    assert_eq!(
        [CNTV_TVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0],
        [0, 1, 2].map(|op2| packed(3, 3, op2))
    );
}

#[test]
fn counter_is_virtual_time_in_ticks() {
    let rig = Rig::new(HZ, 1);
    assert_eq!(rig.get(CNTFRQ_EL0), u64::from(HZ));
    assert_eq!(rig.get(CNTVCT_EL0), 0);
    // 16 ns a tick.
    rig.timeline.advance_to(Time::from_ns(15));
    assert_eq!(rig.get(CNTVCT_EL0), 0);
    rig.timeline.advance_to(Time::from_ns(16));
    assert_eq!((rig.get(CNTVCT_EL0), rig.get(CNTPCT_EL0)), (1, 1));
    rig.timeline.advance_to(Time::from_ns(1_000_000_000));
    assert_eq!(rig.get(CNTVCT_EL0), u64::from(HZ));
}

#[test]
fn counter_never_goes_back_between_cpus() {
    let rig = Rig::new(HZ, 2);
    let read = |cpu, ns| rig.timers.sysreg_read(cpu, CNTVCT_EL0, Time::from_ns(ns));
    assert_eq!(read(0, 1600), Some(100));
    assert_eq!(read(1, 800), Some(100));
    assert_eq!(read(1, 1616), Some(101));
}

#[test]
fn oneshot_fires_at_the_compare_value() {
    let rig = Rig::new(HZ, 1);
    // `set_next_event`: CVAL, then CTL.
    rig.set(CNTV_CVAL_EL0, 100);
    rig.set(CNTV_CTL_EL0, 1);
    assert_eq!(rig.get(CNTV_CTL_EL0), 1);
    assert_eq!(rig.timeline.next_event(), Some(Time::from_ns(1600)));
    rig.timeline.advance_to(Time::from_ns(1599));
    assert!(!rig.virtual_level());
    rig.timeline.advance_to(Time::from_ns(1600));
    assert!(rig.virtual_level());
    assert_eq!(rig.get(CNTV_CTL_EL0), 1 | 4, "ISTATUS");
    assert!(!rig.physical_lines[0].0.get());

    // `timer_handler` masks it and the line falls; the condition stays.
    rig.set(CNTV_CTL_EL0, 1 | 2 | 4);
    assert!(!rig.virtual_level());
    assert_eq!(rig.get(CNTV_CTL_EL0), 1 | 2 | 4);
    rig.set(CNTV_CTL_EL0, 1);
    assert!(rig.virtual_level(), "unmasked while the condition holds");
    // A new compare value in the future ends the condition.
    rig.set(CNTV_CVAL_EL0, 200);
    assert!(!rig.virtual_level());
    rig.set(CNTV_CTL_EL0, 0);
    assert_eq!(rig.timeline.next_event(), None, "off");
    assert_eq!(rig.get(CNTV_CTL_EL0), 0);
}

#[test]
fn timer_value_is_signed_and_relative() {
    let rig = Rig::new(HZ, 1);
    rig.timeline.advance_to(Time::from_ns(1600));
    rig.set(CNTP_TVAL_EL0, 50);
    assert_eq!(rig.get(CNTP_CVAL_EL0), 150);
    rig.timeline.advance_to(Time::from_ns(1600 + 16 * 51));
    assert_eq!(rig.get(CNTP_TVAL_EL0), 0xffff_ffff, "one tick past");
    rig.set(CNTP_CTL_EL0, 1);
    assert!(rig.physical_lines[0].0.get(), "due at once");
    // Upper bits of the value written do not count.
    rig.set(CNTP_TVAL_EL0, 0xabcd_ffff_ffff);
    assert_eq!(rig.get(CNTP_CVAL_EL0), 150);
}

#[test]
fn re_programming_replaces_the_event() {
    let rig = Rig::new(HZ, 1);
    rig.set(CNTV_CTL_EL0, 1);
    for ticks in [1000, 10, 500] {
        rig.set(CNTV_TVAL_EL0, ticks);
        assert_eq!(rig.timeline.next_event(), Some(Time::from_ns(ticks * 16)));
    }
    rig.set(CNTV_CTL_EL0, 3);
    assert_eq!(
        rig.timeline.next_event(),
        None,
        "a masked timer needs no event"
    );
}

#[test]
fn deadline_is_never_early_at_any_frequency() {
    for frequency_hz in [1, 3, 19_200_000, 24_000_001, 1_000_000_000, u32::MAX] {
        let rig = Rig::new(frequency_hz, 1);
        rig.set(CNTV_CTL_EL0, 1);
        for compare in [1, 2, 7, 1001] {
            rig.set(CNTV_CVAL_EL0, rig.get(CNTVCT_EL0) + compare);
            assert!(!rig.virtual_level());
            let deadline = rig.timeline.next_event().expect("a deadline");
            rig.timeline.advance_to(Time::from_ps(deadline.as_ps() - 1));
            assert!(!rig.virtual_level());
            rig.timeline.advance_to(deadline);
            assert!(rig.virtual_level(), "{frequency_hz} Hz, {compare} ticks");
        }
    }
}

#[test]
fn compare_value_beyond_all_time_never_fires() {
    let rig = Rig::new(HZ, 1);
    rig.set(CNTV_CVAL_EL0, u64::MAX);
    assert!(!rig.timers.waits_for_never(), "it is off");
    rig.set(CNTV_CTL_EL0, 1);
    assert_eq!(rig.timeline.next_event(), None);
    assert!(rig.timers.waits_for_never());
    rig.set(CNTV_TVAL_EL0, 0x7fff_ffff);
    assert!(rig.timeline.next_event().is_some());
    assert!(!rig.timers.waits_for_never());
}

#[test]
fn write_inside_a_slice_counts_from_its_own_time() {
    let rig = Rig::new(HZ, 1);
    let inside = Time::from_ns(1600);
    rig.timers.sysreg_write(0, CNTV_TVAL_EL0, 10, inside);
    rig.timers.sysreg_write(0, CNTV_CTL_EL0, 1, inside);
    assert_eq!(rig.timeline.next_event(), Some(Time::from_ns(1600 + 160)));
}

#[test]
fn other_registers_are_not_there() {
    let rig = Rig::new(HZ, 1);
    let now = Time::ZERO;
    // CNTHCTL_EL2, CNTPS_CTL_EL1, CNTPCTSS_EL0.
    for register in [
        sysreg(3, 4, 14, 1, 0),
        sysreg(3, 7, 14, 2, 1),
        sysreg(3, 3, 14, 0, 5),
    ] {
        assert_eq!(rig.timers.sysreg_read(0, register, now), None);
        assert_eq!(rig.timers.sysreg_write(0, register, 0, now), None);
    }
    assert_eq!(
        rig.timers.sysreg_write(0, CNTVCT_EL0, 0, now),
        None,
        "read-only"
    );
    assert_eq!(
        rig.timers.sysreg_read(1, CNTVCT_EL0, now),
        None,
        "no such CPU"
    );
    rig.set(CNTKCTL_EL1, u64::MAX);
    assert_eq!(
        (rig.get(CNTKCTL_EL1), rig.timers.cntkctl(0)),
        (0x3ff, 0x3ff)
    );
}
