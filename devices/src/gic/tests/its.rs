//! LPIs, through the ITS. Command words are those of the driver's `its_build_*_cmd`.

use std::cell::RefCell;

use stallbox_timeline::Progress;

use super::*;

const GITS_CTLR: u64 = 0x0000;
const GITS_TYPER: u64 = 0x0008;
const GITS_CBASER: u64 = 0x0080;
const GITS_CWRITER: u64 = 0x0088;
const GITS_CREADR: u64 = 0x0090;
const GITS_BASER: u64 = 0x0100;
const VALID: u64 = 1 << 63;
const INDIRECT: u64 = 1 << 62;
/// Inner shareable, read and write allocate write-back: what the driver asks for first.
const BASER_ATTRIBUTES: u64 = 7 << 59 | 1 << 10;

// Where the test puts what the driver would allocate.
const QUEUE: u64 = 0x1_0000;
const DEVICES: u64 = 0x2_0000;
const COLLECTIONS: u64 = 0x3_0000;
const PROPERTIES: u64 = 0x4_0000;
const LEVEL_TWO: u64 = 0x6_0000;
const ITT: u64 = 0x8_0000;
const PENDING: u64 = 0x10_0000;

/// Requester id 00:01.0.
const DEVICE: u32 = 0x8;

/// A driver of the ITS.
pub(super) struct Driver {
    pub rig: Rig,
    cwriter: u32,
}

fn mapd(device: u32, event_bits: u64, itt: u64, valid: bool) -> [u64; 4] {
    [
        u64::from(device) << 32 | 0x08,
        event_bits - 1,
        u64::from(valid) << 63 | itt,
        0,
    ]
}

fn mapc(collection: u64, cpu: u64, valid: bool) -> [u64; 4] {
    [0x09, 0, u64::from(valid) << 63 | cpu << 16 | collection, 0]
}

fn mapti(device: u32, event: u64, intid: u64, collection: u64) -> [u64; 4] {
    [
        u64::from(device) << 32 | 0x0a,
        intid << 32 | event,
        collection,
        0,
    ]
}

fn with_event(opcode: u64, device: u32, event: u64) -> [u64; 4] {
    [u64::from(device) << 32 | opcode, event, 0, 0]
}

fn movi(device: u32, event: u64, collection: u64) -> [u64; 4] {
    [u64::from(device) << 32 | 0x01, event, collection, 0]
}

const INT: u64 = 0x03;
const CLEAR: u64 = 0x04;
const INV: u64 = 0x0c;
const DISCARD: u64 = 0x0f;

fn invall(collection: u64) -> [u64; 4] {
    [0x0d, 0, collection, 0]
}

fn movall(from: u64, to: u64) -> [u64; 4] {
    [0x0e, 0, from << 16, to << 16]
}

fn sync(cpu: u64) -> [u64; 4] {
    [0x05, 0, cpu << 16, 0]
}

impl Driver {
    /// `its_probe_one`, `its_cpu_init_lpis` and `its_cpu_init_collection` for each CPU.
    pub(super) fn start(cpus: usize) -> Driver {
        let rig = Rig::booted(cpus);
        let mut driver = Driver { rig, cwriter: 0 };
        let rig = &driver.rig;
        assert_eq!(read32(&rig.its, GITS_CTLR), 1 << 31, "quiescent and off");

        // `its_probe_baser_psz` and `its_setup_baser`: what is written must stick.
        for (index, kind, base) in [(0, 1, DEVICES), (1, 4, COLLECTIONS)] {
            let offset = GITS_BASER + 8 * index;
            let reset = read64(&rig.its, offset);
            assert_eq!(reset >> 56 & 7, kind, "GITS_BASER_TYPE");
            assert_eq!((reset >> 48 & 0x1f) + 1, 8, "GITS_BASER_ENTRY_SIZE");
            assert_eq!(reset >> 8 & 3, 2, "GITS_BASER_PAGE_SIZE_64K");
            for page_size in [2, 1, 0] {
                write64(&rig.its, offset, reset & !0x300 | page_size << 8);
                assert_eq!(read64(&rig.its, offset) >> 8 & 3, page_size);
            }
            let value = base | kind << 56 | 7 << 48 | BASER_ATTRIBUTES | 2 << 8 | VALID;
            write64(&rig.its, offset, value);
            assert_eq!(read64(&rig.its, offset), value);
        }
        for index in 2..8 {
            assert_eq!(read64(&rig.its, GITS_BASER + 8 * index), 0);
        }
        let cbaser = QUEUE | 7 << 59 | 1 << 10 | 0xf | VALID;
        write64(&rig.its, GITS_CBASER, cbaser);
        assert_eq!(read64(&rig.its, GITS_CBASER), cbaser);
        write64(&rig.its, GITS_CWRITER, 0);
        write32(&rig.its, GITS_CTLR, 1);
        assert_eq!(read32(&rig.its, GITS_CTLR), 1);

        // `its_allocate_prop_table`: all LPIs disabled, default priority.
        for intid in 8192..65536 {
            rig.store(PROPERTIES + intid - 8192, DEF_PRI | 2);
        }
        for cpu in 0..cpus {
            driver.enable_lpis(cpu);
            let collection = cpu as u64;
            driver.commands(&[mapc(collection, collection, true), sync(collection)]);
            driver.commands(&[invall(collection), sync(collection)]);
        }
        driver
    }

    fn pending_table(cpu: usize) -> u64 {
        PENDING + cpu as u64 * 0x1_0000
    }

    fn enable_lpis(&self, cpu: usize) {
        let rd = self.rig.rd(cpu);
        let redist = &self.rig.redist;
        let propbaser = PROPERTIES | 1 << 10 | 7 << 7 | 15;
        write64(redist, rd + GICR_PROPBASER, propbaser);
        assert_eq!(read64(redist, rd + GICR_PROPBASER), propbaser);
        let pendbaser = Self::pending_table(cpu) | 1 << 10 | 7 << 7;
        write64(redist, rd + GICR_PENDBASER, pendbaser);
        assert_eq!(read64(redist, rd + GICR_PENDBASER), pendbaser);
        write32(redist, rd + GICR_CTLR, read32(redist, rd + GICR_CTLR) | 1);
        assert_eq!(
            read32(redist, rd + GICR_CTLR) & 0b1011,
            0b11,
            "EnableLPIs, CES, no RWP"
        );
    }

    /// `its_send_single_command`: queue, ring, wait.
    fn commands(&mut self, commands: &[[u64; 4]]) {
        for command in commands {
            self.rig.store(QUEUE + u64::from(self.cwriter), *command);
            self.cwriter = (self.cwriter + 32) % 0x1_0000;
        }
        write32(&self.rig.its, GITS_CWRITER, self.cwriter);
        assert_eq!(
            read32(&self.rig.its, GITS_CREADR),
            self.cwriter,
            "all done at once"
        );
    }

    /// Writes an LPI's configuration byte, as `lpi_write_config` does, without INV.
    fn configure(&self, intid: u64, config: u8) {
        self.rig.store(PROPERTIES + intid - 8192, config);
    }

    /// Maps `DEVICE`'s event 0 to `intid` at CPU `collection`, enabled.
    fn map(&mut self, intid: u64, collection: u64) {
        self.configure(intid, DEF_PRI | 3);
        self.commands(&[
            mapd(DEVICE, 5, ITT, true),
            mapti(DEVICE, 0, intid, collection),
            sync(collection),
            with_event(INV, DEVICE, 0),
            sync(collection),
        ]);
    }

    /// The LPI that a CPU takes, and its end.
    fn take(&self, cpu: usize) -> u64 {
        let intid = self.rig.get(cpu, IAR1);
        self.rig.set(cpu, EOIR1, intid);
        intid
    }
}

/// The irq input of CPU 0 each time that it is said to have changed, and the interruptions.
fn run_many(interrupted: bool) -> (Vec<bool>, usize) {
    let mut driver = Driver::start(1);
    driver.map(8192, 0);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (changes, gic) = (seen.clone(), driver.rig.gic.clone());
    driver.rig.gic.on_change(Rc::new(move |cpu| {
        changes.borrow_mut().push(gic.irq(cpu));
    }));
    for _ in 0..50 {
        for opcode in [INT, CLEAR, INV, INT] {
            let command = with_event(opcode, DEVICE, 0);
            driver.rig.store(QUEUE + u64::from(driver.cwriter), command);
            driver.cwriter = (driver.cwriter + 32) % 0x1_0000;
        }
    }
    let timeline = &driver.rig.timeline;
    if interrupted {
        timeline.yield_request().set();
    }
    write32(&driver.rig.its, GITS_CWRITER, driver.cwriter);
    let mut interruptions = 0;
    while timeline.try_run_ready() == Progress::Interrupted {
        assert_eq!(*seen.borrow(), [], "half of it shows");
        interruptions += 1;
    }
    assert_eq!(read32(&driver.rig.its, GITS_CREADR), driver.cwriter);
    timeline.yield_request().take();
    assert_eq!(driver.take(0), 8192);
    (seen.take(), interruptions)
}

#[test]
fn a_command_queue_that_is_interrupted_goes_on_and_shows_its_whole() {
    let (whole, none) = run_many(false);
    let (pieces, many) = run_many(true);
    assert_eq!(whole, [true, false]);
    assert_eq!(whole, pieces);
    assert_eq!(none, 0);
    assert!(many > 100, "{many}");
}

#[test]
fn its_identifies_itself() {
    let rig = Rig::reset(1);
    let typer = read64(&rig.its, GITS_TYPER);
    assert_eq!(typer & 1, 1, "PLPIS");
    assert_eq!((typer >> 4 & 0xf) + 1, 8, "ITT entry bytes");
    assert_eq!((typer >> 8 & 0x1f) + 1, 16, "EventID bits");
    assert_eq!((typer >> 13 & 0x1f) + 1, 17, "DeviceID bits");
    assert_eq!(
        typer & (1 << 1 | 1 << 18 | 1 << 19 | 0xff << 24 | 0x1f << 32 | 1 << 37),
        0
    );
}

#[test]
fn message_becomes_an_lpi() {
    let mut driver = Driver::start(2);
    driver.map(8200, 1);

    driver.rig.gic.msi(DEVICE, 0);

    let rig = &driver.rig;
    assert_eq!([rig.gic.irq(0), rig.gic.irq(1)], [false, true]);
    assert_eq!(rig.get(1, HPPIR1), 8200);
    assert_eq!(rig.get(1, IAR1), 8200);
    assert!(!rig.gic.irq(1), "taken");
    assert_eq!(rig.get(1, RPR), u64::from(DEF_PRI));
    // LPIs have no active state: the next message is pending at once, signalled after EOI.
    rig.gic.msi(DEVICE, 0);
    assert!(!rig.gic.irq(1));
    rig.set(1, EOIR1, 8200);
    assert!(rig.gic.irq(1));
    assert_eq!(driver.take(1), 8200);
    assert_eq!(driver.take(1), SPURIOUS);
}

#[test]
fn int_and_clear_commands_act_like_messages() {
    let mut driver = Driver::start(1);
    driver.map(9000, 0);
    driver.commands(&[with_event(INT, DEVICE, 0)]);
    assert!(driver.rig.gic.irq(0));
    driver.commands(&[with_event(CLEAR, DEVICE, 0)]);
    assert!(!driver.rig.gic.irq(0));
    driver.commands(&[with_event(INT, DEVICE, 0)]);
    assert_eq!(driver.take(0), 9000);
}

#[test]
fn mapi_uses_the_event_as_intid() {
    let mut driver = Driver::start(1);
    driver.configure(8192, DEF_PRI | 3);
    driver.commands(&[
        mapd(DEVICE, 14, ITT, true),
        [u64::from(DEVICE) << 32 | 0x0b, 8192, 0, 0],
        with_event(INT, DEVICE, 8192),
    ]);
    assert_eq!(driver.take(0), 8192);
}

#[test]
fn configuration_counts_from_its_invalidation() {
    let mut driver = Driver::start(1);
    driver.map(8192, 0);
    driver.rig.gic.msi(DEVICE, 0);
    assert_eq!(driver.take(0), 8192);

    // Masked in the table, not invalidated: still taken, by this implementation's cache.
    driver.configure(8192, DEF_PRI | 2);
    driver.rig.gic.msi(DEVICE, 0);
    assert!(driver.rig.gic.irq(0));
    // INV takes effect on what is pending, too.
    driver.commands(&[with_event(INV, DEVICE, 0), sync(0)]);
    assert!(!driver.rig.gic.irq(0));
    assert_eq!(driver.rig.get(0, HPPIR1), SPURIOUS);

    // Unmasked and invalidated: what was pending all along is signalled, at its new priority.
    driver.configure(8192, 0x40 | 3);
    driver.commands(&[with_event(INV, DEVICE, 0), sync(0)]);
    assert!(driver.rig.gic.irq(0));
    assert_eq!(driver.rig.get(0, IAR1), 8192);
    assert_eq!(driver.rig.get(0, RPR), 0x40);
    driver.rig.set(0, EOIR1, 8192);

    driver.rig.gic.msi(DEVICE, 0);
    driver.configure(8192, DEF_PRI | 2);
    assert!(driver.rig.gic.irq(0));
    driver.commands(&[invall(0), sync(0)]);
    assert!(!driver.rig.gic.irq(0));
    driver.configure(8192, DEF_PRI | 3);
    driver.commands(&[invall(0), sync(0)]);
    assert_eq!(driver.take(0), 8192);
}

#[test]
fn lpis_follow_priority_among_themselves_and_wired_interrupts() {
    let mut driver = Driver::start(1);
    driver.configure(8192, 0xa0 | 3);
    driver.configure(8193, 0x80 | 3);
    driver.commands(&[
        mapd(DEVICE, 5, ITT, true),
        mapti(DEVICE, 0, 8192, 0),
        mapti(DEVICE, 1, 8193, 0),
    ]);
    driver.rig.set_priority(40, 0x90);
    driver.rig.set_edge(40);
    driver.rig.enable(40);

    driver.rig.gic.msi(DEVICE, 0);
    driver.rig.gic.msi(DEVICE, 1);
    driver.rig.gic.spi(40).pulse();

    assert_eq!(
        [driver.take(0), driver.take(0), driver.take(0)],
        [8193, 40, 8192]
    );
}

#[test]
fn movi_and_movall_take_the_pending_state_along() {
    let mut driver = Driver::start(3);
    driver.map(8192, 0);
    driver.rig.gic.msi(DEVICE, 0);
    driver.commands(&[movi(DEVICE, 0, 2), sync(2)]);
    assert_eq!(
        [0, 1, 2].map(|cpu| driver.rig.gic.irq(cpu)),
        [false, false, true]
    );
    driver.commands(&[movall(2, 1), sync(2)]);
    assert_eq!(
        [0, 1, 2].map(|cpu| driver.rig.gic.irq(cpu)),
        [false, true, false]
    );
    assert_eq!(driver.take(1), 8192);
    // The mapping is still to collection 2.
    driver.rig.gic.msi(DEVICE, 0);
    assert!(driver.rig.gic.irq(2));
}

#[test]
fn discarded_and_unmapped_events_are_dropped() {
    let mut driver = Driver::start(1);
    driver.map(8192, 0);
    driver.rig.gic.msi(DEVICE, 0);
    driver.commands(&[with_event(DISCARD, DEVICE, 0), sync(0)]);
    assert!(!driver.rig.gic.irq(0), "no longer pending");
    driver.rig.gic.msi(DEVICE, 0);
    assert!(!driver.rig.gic.irq(0));

    driver.map(8192, 0);
    driver.commands(&[mapd(DEVICE, 5, ITT, false)]);
    driver.rig.gic.msi(DEVICE, 0);
    assert!(!driver.rig.gic.irq(0), "the device is unmapped");

    driver.map(8192, 0);
    driver.commands(&[mapc(0, 0, false)]);
    driver.rig.gic.msi(DEVICE, 0);
    assert!(!driver.rig.gic.irq(0), "the collection is unmapped");

    driver.commands(&[mapc(0, 0, true)]);
    // 5 bits of events, another device, no such DeviceID.
    driver.rig.gic.msi(DEVICE, 32);
    driver.rig.gic.msi(DEVICE + 1, 0);
    driver.rig.gic.msi(0x2_0000 + DEVICE, 0);
    assert!(!driver.rig.gic.irq(0));
    driver.rig.gic.msi(DEVICE, 0);
    assert!(driver.rig.gic.irq(0));
}

#[test]
fn wrong_commands_are_skipped() {
    let mut driver = Driver::start(2);
    driver.map(8192, 0);
    driver.commands(&[
        [0xff; 4],
        [0; 4],
        [0x29, 0, 0, 0], // VMAPP: there are no virtual LPIs
        mapd(0x2_0000, 5, ITT, true),
        mapd(DEVICE, 17, ITT, true),
        mapc(0, 2, true),
        mapc(0, 0x7_ffff_ffff, true),
        mapti(DEVICE, 0, 8191, 0),
        mapti(DEVICE, 0, 65536, 0),
        mapti(DEVICE, 32, 8193, 0),
        mapti(DEVICE + 1, 0, 8193, 0),
        movi(DEVICE, 0, 77),
        movi(DEVICE, 3, 1),
        movall(0, 2),
        movall(1, 1),
        invall(99),
        with_event(INV, DEVICE, 9),
    ]);
    driver.rig.gic.msi(DEVICE, 0);
    assert_eq!(driver.take(0), 8192, "the mapping is as it was");
}

#[test]
fn device_table_of_two_levels() {
    let mut driver = Driver::start(1);
    let its = &driver.rig.its;
    write32(its, GITS_CTLR, 0);
    assert_eq!(read32(its, GITS_CTLR), 1 << 31);
    // 4 KiB pages: 512 devices for each page of the second level.
    let value = DEVICES | 1 << 56 | 7 << 48 | BASER_ATTRIBUTES | INDIRECT | VALID;
    write64(its, GITS_BASER, value);
    assert_eq!(read64(its, GITS_BASER), value);
    write32(its, GITS_CTLR, 1);
    let device = 0x1234;
    let slot = DEVICES + u64::from(device) / 512 * 8;
    driver.configure(8192, DEF_PRI | 3);
    let commands = [mapd(device, 5, ITT, true), mapti(device, 0, 8192, 0)];

    driver.commands(&commands);
    driver.rig.gic.msi(device, 0);
    assert!(!driver.rig.gic.irq(0), "no second level: out of range");

    // `its_alloc_table_entry`.
    driver.rig.store(slot, LEVEL_TWO | VALID);
    driver.commands(&commands);
    driver.rig.gic.msi(device, 0);
    assert_eq!(driver.take(0), 8192);
    assert_ne!(
        driver
            .rig
            .load::<u64>(LEVEL_TWO + u64::from(device) % 512 * 8),
        0
    );
    // The other pages are still missing.
    driver.rig.gic.msi(device + 512, 0);
    assert!(!driver.rig.gic.irq(0));
}

#[test]
fn device_and_collection_beyond_their_tables_are_out_of_range() {
    let mut driver = Driver::start(1);
    write32(&driver.rig.its, GITS_CTLR, 0);
    // One page of 4 KiB each: 512 entries.
    write64(&driver.rig.its, GITS_BASER, DEVICES | VALID);
    write64(&driver.rig.its, GITS_BASER + 8, COLLECTIONS | VALID);
    write32(&driver.rig.its, GITS_CTLR, 1);

    driver.commands(&[mapd(511, 5, ITT, true), mapc(511, 0, true)]);
    assert_ne!(driver.rig.load::<u64>(DEVICES + 511 * 8), 0);
    assert_ne!(driver.rig.load::<u64>(COLLECTIONS + 511 * 8), 0);

    driver.commands(&[mapd(512, 5, ITT, true), mapc(512, 0, true)]);
    assert_eq!(driver.rig.load::<u64>(DEVICES + 512 * 8), 0);
    assert_eq!(driver.rig.load::<u64>(COLLECTIONS + 512 * 8), 0);
}

#[test]
fn collection_table_cannot_be_indirect() {
    let rig = Rig::reset(1);
    write64(&rig.its, GITS_BASER + 8, COLLECTIONS | INDIRECT | VALID);
    assert_eq!(read64(&rig.its, GITS_BASER + 8) & (INDIRECT | VALID), VALID);
    // Page size 3 is reserved.
    write64(&rig.its, GITS_BASER, 3 << 8);
    assert_eq!(read64(&rig.its, GITS_BASER) >> 8 & 3, 2);
}

#[test]
fn tables_of_an_its_that_is_on_cannot_be_moved() {
    let driver = Driver::start(1);
    let its = &driver.rig.its;
    for register in [GITS_CBASER, GITS_BASER, GITS_BASER + 8] {
        let before = read64(its, register);
        write64(its, register, 0);
        assert_eq!(read64(its, register), before);
    }
    let redist = &driver.rig.redist;
    for register in [GICR_PROPBASER, GICR_PENDBASER] {
        let before = read64(redist, register);
        write64(redist, register, 0);
        assert_eq!(read64(redist, register), before);
    }
}

#[test]
fn its_that_is_off_drops_messages_and_does_no_commands() {
    let mut driver = Driver::start(1);
    driver.map(8192, 0);
    write32(&driver.rig.its, GITS_CTLR, 0);
    driver.rig.gic.msi(DEVICE, 0);
    assert!(!driver.rig.gic.irq(0));
    let before = read32(&driver.rig.its, GITS_CREADR);
    driver.rig.store(
        QUEUE + u64::from(driver.cwriter),
        with_event(INT, DEVICE, 0),
    );
    write32(&driver.rig.its, GITS_CWRITER, driver.cwriter + 32);
    assert_eq!(read32(&driver.rig.its, GITS_CREADR), before);
    write32(&driver.rig.its, GITS_CTLR, 1);
    assert_eq!(driver.take(0), 8192, "done once it is on");
}

#[test]
fn command_queue_wraps() {
    let mut driver = Driver::start(1);
    driver.map(8192, 0);
    // 64 KiB hold 2048 commands.
    for _ in 0..3000 {
        driver.commands(&[sync(0)]);
    }
    driver.commands(&[with_event(INT, DEVICE, 0)]);
    assert_eq!(driver.take(0), 8192);
}

#[test]
fn write_pointer_beyond_the_queue_does_nothing() {
    let driver = Driver::start(1);
    let its = &driver.rig.its;
    let before = read32(its, GITS_CREADR);
    write32(its, GITS_CWRITER, 0xf_ffe0);
    assert_eq!(read32(its, GITS_CREADR), before);
    // The Retry bit and what lies beyond the offset do not count.
    write32(its, GITS_CWRITER, before | 0xfff0_001f);
    assert_eq!(read32(its, GITS_CWRITER), before);
}

#[test]
fn pending_table_is_read_and_written_back() {
    let mut driver = Driver::start(1);
    driver.map(8200, 0);
    driver.rig.gic.msi(DEVICE, 0);
    let byte = Driver::pending_table(0) + 8200 / 8;

    // `redist_disable_lpis`.
    write32(&driver.rig.redist, GICR_CTLR, 0);
    assert_eq!(read32(&driver.rig.redist, GICR_CTLR), 0b10);
    assert!(!driver.rig.gic.irq(0));
    assert_eq!(driver.rig.load::<u8>(byte), 1);

    driver.rig.gic.msi(DEVICE, 0);
    driver.rig.store(byte, 0b10_u8);
    driver.configure(8201, DEF_PRI | 3);
    driver.enable_lpis(0);
    assert_eq!(driver.take(0), 8201);
    assert_eq!(
        driver.take(0),
        SPURIOUS,
        "messages to a CPU without LPIs are lost"
    );

    // PTZ: the table is not looked at.
    write32(&driver.rig.redist, GICR_CTLR, 0);
    driver.rig.store(byte, 0xff_u8);
    write64(
        &driver.rig.redist,
        GICR_PENDBASER,
        Driver::pending_table(0) | 1 << 62,
    );
    assert_eq!(
        read64(&driver.rig.redist, GICR_PENDBASER) >> 62,
        0,
        "PTZ reads as zero"
    );
    write32(&driver.rig.redist, GICR_CTLR, 1);
    assert!(!driver.rig.gic.irq(0));
}

#[test]
fn id_bits_of_the_property_table_limit_the_lpis() {
    let mut driver = Driver::start(1);
    write32(&driver.rig.redist, GICR_CTLR, 0);
    // 14 bits: LPIs 8192 to 16383.
    write64(&driver.rig.redist, GICR_PROPBASER, PROPERTIES | 13);
    write32(&driver.rig.redist, GICR_CTLR, 1);
    driver.map(16384, 0);
    driver.rig.gic.msi(DEVICE, 0);
    assert!(!driver.rig.gic.irq(0));
    driver.map(16383, 0);
    driver.rig.gic.msi(DEVICE, 0);
    assert_eq!(driver.take(0), 16383);
}

#[test]
fn processor_write_to_the_translation_register_is_dropped() {
    let mut driver = Driver::start(1);
    driver.map(8192, 0);
    write32(&driver.rig.its, 0x1_0040, 0);
    assert!(!driver.rig.gic.irq(0));
}

#[test]
fn moving_many_pending_lpis_to_and_fro_is_cheap() {
    let mut driver = Driver::start(2);
    driver.commands(&[mapd(DEVICE, 16, 0x20_0000, true)]);
    for event in 0..57344 {
        driver.configure(8192 + event, DEF_PRI | 3);
        driver.commands(&[mapti(DEVICE, event, 8192 + event, 0)]);
        driver.rig.gic.msi(DEVICE, event as u32);
    }
    // A queue full of the worst commands. Quadratic work would take minutes.
    for slot in 0..2048_u64 {
        let command = match slot % 3 {
            0 => movall(slot & 1, slot & 1 ^ 1),
            1 => invall(slot & 1),
            _ => with_event(INT, DEVICE, slot),
        };
        driver.rig.store(QUEUE + slot * 32, command);
    }
    for _ in 0..20 {
        let behind = (read32(&driver.rig.its, GITS_CREADR) + 0x1_0000 - 32) % 0x1_0000;
        write32(&driver.rig.its, GITS_CWRITER, behind);
        assert_eq!(read32(&driver.rig.its, GITS_CREADR), behind);
    }
    assert!(driver.rig.gic.irq(0) || driver.rig.gic.irq(1));
}

#[test]
fn who_looks_sees_a_pending_lpi_and_changes_nothing() {
    let mut driver = Driver::start(2);
    driver.map(8200, 1);
    driver.rig.gic.msi(DEVICE, 0);
    for _ in 0..2 {
        let seen = driver.rig.gic.cpu_interrupts(1).unwrap();
        assert!(seen.irq);
        let [lpi] = seen.in_progress[..] else {
            panic!("{seen:?}");
        };
        assert_eq!((lpi.intid, lpi.pending, lpi.active), (8200, true, false));
        assert_eq!((lpi.enabled, lpi.priority), (Some(true), Some(DEF_PRI)));
    }
    assert!(
        driver
            .rig
            .gic
            .cpu_interrupts(0)
            .unwrap()
            .in_progress
            .is_empty()
    );
    assert_eq!(driver.take(1), 8200);
}
