//! The driver's side, with offsets from the manual, not from `spec`.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;
use stallbox_timeline::{Time, Timeline};

use super::Rtc;
use crate::irq::{IrqLine, Unconnected};
use crate::mmio::MmioDevice;

#[derive(Default)]
struct Line(Cell<bool>);

impl IrqLine for Line {
    fn set(&self, asserted: bool) {
        assert_ne!(self.0.replace(asserted), asserted, "driven to what it was");
    }
}

fn clock(epoch: u32) -> (Timeline, Rtc, Rc<Line>) {
    let (timeline, line) = (Timeline::new(), Rc::new(Line::default()));
    let rtc = Rtc::new(&timeline, line.clone(), epoch);
    (timeline, rtc, line)
}

fn read(rtc: &Rtc, offset: u64) -> u32 {
    let mut word = [0; 4];
    rtc.read(offset, &mut word);
    u32::from_le_bytes(word)
}

fn write(rtc: &Rtc, offset: u64, value: u32) {
    rtc.write(offset, &value.to_le_bytes());
}

fn seconds(seconds: u64) -> Time {
    Time::from_ns(seconds * 1_000_000_000)
}

/// `amba_device_try_add` puts the id together a byte at a time; `pl031_ids` has 0x00041031 under
/// the mask 0x000fffff, and the cell id is 0xb105f00d.
#[test]
fn the_amba_bus_recognises_it() {
    let (_, rtc, _) = clock(0);
    let id = |first: u64| (0..4).fold(0, |id, i| id | (read(&rtc, first + 4 * i) & 255) << (8 * i));
    assert_eq!(id(0xfe0) & 0x000f_ffff, 0x0004_1031);
    assert_eq!(
        read(&rtc, 0xfe8),
        0x14,
        "PeriphID2: revision 1, and a digit of the designer"
    );
    assert_eq!(id(0xff0), 0xb105_f00d);
}

#[test]
fn the_counter_follows_virtual_time() {
    let (timeline, rtc, _) = clock(1000);
    timeline.advance_to(Time::from_ns(1_999_999_999));
    assert_eq!(read(&rtc, 0x00), 1001);
    timeline.advance_to(seconds(2));
    assert_eq!(read(&rtc, 0x00), 1002);
    assert_eq!(read(&rtc, 0x0c), 1);
    write(&rtc, 0x0c, 0);
    timeline.advance_to(seconds(3));
    assert_eq!(read(&rtc, 0x00), 1003, "Control cannot stop it");
}

#[test]
fn loading_sets_the_counter() {
    let (timeline, rtc, _) = clock(1000);
    timeline.advance_to(seconds(5));
    write(&rtc, 0x08, 7);
    assert_eq!((read(&rtc, 0x00), read(&rtc, 0x08)), (7, 7));
    timeline.advance_to(seconds(6));
    assert_eq!(read(&rtc, 0x00), 8);
}

#[test]
fn the_alarm_interrupts_when_it_matches_and_until_it_is_cleared() {
    let (timeline, rtc, line) = clock(1000);
    write(&rtc, 0x04, 1003);
    write(&rtc, 0x10, 1);
    timeline.advance_to(Time::from_ns(2_999_999_999));
    assert!(!line.0.get());
    timeline.advance_to(seconds(3));
    assert!(line.0.get());
    assert_eq!((read(&rtc, 0x14), read(&rtc, 0x18)), (1, 1));
    write(&rtc, 0x10, 0);
    assert!(!line.0.get());
    assert_eq!((read(&rtc, 0x14), read(&rtc, 0x18)), (1, 0));
    write(&rtc, 0x10, 1);
    write(&rtc, 0x1c, 1);
    assert!(!line.0.get());
    assert_eq!(timeline.next_event(), None);
}

#[test]
fn moving_the_alarm_or_the_counter_plans_again() {
    let (timeline, rtc, line) = clock(1000);
    write(&rtc, 0x10, 1);
    write(&rtc, 0x04, 1010);
    write(&rtc, 0x04, 1020);
    assert_eq!(timeline.next_event(), Some(seconds(20)));
    write(&rtc, 0x08, 1015);
    assert_eq!(timeline.next_event(), Some(seconds(5)));
    write(&rtc, 0x08, 1020);
    assert!(line.0.get(), "a match at once");
    assert_eq!(timeline.next_event(), None);
}

#[test]
fn an_alarm_beyond_virtual_time_is_not_planned() {
    let (timeline, rtc, _) = clock(1000);
    write(&rtc, 0x04, 999);
    assert_eq!(timeline.next_event(), None);
}

#[test]
fn narrow_accesses_read_bytes_and_write_nothing() {
    let (_, rtc, _) = clock(0x0102_0304);
    let mut byte = [0];
    rtc.read(2, &mut byte);
    assert_eq!(byte, [0x02]);
    rtc.write(8, &[0xff]);
    assert_eq!(read(&rtc, 0x00), 0x0102_0304);
}

proptest! {
    #[test]
    fn no_access_panics(
        accesses in prop::collection::vec((0u64..0x1004, any::<u64>(), 0usize..4), 0..64),
    ) {
        let timeline = Timeline::new();
        let rtc = Rtc::new(&timeline, Rc::new(Unconnected), super::DEFAULT_EPOCH_SECONDS);
        for (offset, value, width) in accesses {
            let bytes = &mut value.to_le_bytes()[..1 << width];
            rtc.write(offset, bytes);
            rtc.read(offset, bytes);
            timeline.advance_to(timeline.now() + stallbox_timeline::Span::from_ms(value % 5000));
        }
    }
}
