//! What a driver sees: words that Linux writes (arm-smmu-v3.h), and what the model makes of the
//! same memory.

use crate::spec::ste::Ste;
use crate::testing::{
    CONTEXT_TABLE, Driver, EVENT_QUEUE, SID, STAGE2_ROOT, STAGE2_RW, STREAM_TABLE, USER_RO,
    USER_RW, cd_sva, ste_stage1, ste_stage2,
};
use crate::view::{End, Kind, Missing, QueueName, View, Walk};
use crate::{Access, StreamId, SubstreamId, Transaction};

fn view<T>(driver: &Driver, look: impl FnOnce(View<'_>) -> T) -> T {
    let memory = |at| Some(driver.memory.load(at));
    look(View::new(&driver.smmu, &memory))
}

fn walk(driver: &Driver, address: u64) -> Walk {
    view(driver, |view| view.walk(SID, 1, address)).unwrap()
}

/// STRTAB_BASE_CFG_FMT is bits 17:16, STRTAB_BASE_CFG_SPLIT bits 10:6, STRTAB_BASE_CFG_LOG2SIZE bits
/// 5:0; STRTAB_L1_DESC_SPAN bits 4:0, STRTAB_L1_DESC_L2PTR_MASK bits 51:6.
fn two_levels(split: u32) -> Driver {
    let driver = Driver::default();
    driver.write64(0x80, STREAM_TABLE | 1 << 62);
    driver.write32(0x88, 1 << 16 | split << 6 | 16);
    driver
}

#[test]
fn the_stream_table_is_found_as_the_model_finds_it() {
    let driver = two_levels(8);
    let l2 = 0x1_0800_0000;
    // 16 - 8 bits in the first level, whose table is so aligned to 2 KiB. A span of 9 is 2^8.
    driver.memory.store(STREAM_TABLE + 8, &[l2 | 9]);
    driver
        .memory
        .store(l2 + 64 * 5, &ste_stage1(CONTEXT_TABLE, 3));
    let ste = view(&driver, |view| view.ste(0x105)).unwrap();
    assert_eq!(
        (ste.at, ste.it),
        (l2 + 64 * 5, Ste(ste_stage1(CONTEXT_TABLE, 3)))
    );
    // L2Ptr counts in multiples of the second level's own size.
    driver.memory.store(STREAM_TABLE + 8, &[l2 | 0x1fc0 | 9]);
    assert_eq!(view(&driver, |view| view.ste(0x105)).unwrap().at, ste.at);

    let missing = |sid| view(&driver, |view| view.ste(sid)).unwrap_err();
    assert_eq!(
        missing(0x1_0000),
        Missing::Stream {
            sid: 0x1_0000,
            log2_size: 16
        }
    );
    let second = |sid, descriptor| Missing::SecondLevel { sid, descriptor };
    assert_eq!(missing(0x205), second(0x205, 0));
    // Larger than the split, and reserved.
    for span in [10, 12, 31] {
        driver.memory.store(STREAM_TABLE + 8, &[l2 | span]);
        assert_eq!(missing(0x105), second(0x105, l2 | span));
    }
    driver.memory.store(STREAM_TABLE + 8, &[l2 | 3]);
    assert_eq!(
        view(&driver, |view| view.ste(0x103)).unwrap().at,
        l2 + 64 * 3
    );
    assert_eq!(missing(0x104), second(0x104, l2 | 3));

    // A reserved split is 6.
    let driver = two_levels(7);
    driver.memory.store(STREAM_TABLE + 8 * 4, &[l2 | 7]);
    assert_eq!(
        view(&driver, |view| view.ste(0x105)).unwrap().at,
        l2 + 64 * 5
    );
}

#[test]
fn entries_are_listed_where_there_are_tables() {
    let driver = two_levels(8);
    let l2 = 0x1_0800_0000;
    driver.memory.store(STREAM_TABLE + 8 * 0xff, &[l2 | 9]);
    driver
        .memory
        .store(l2 + 64 * 7, &ste_stage1(CONTEXT_TABLE, 3));
    let listed = |most, looked| {
        let found = view(&driver, |view| view.stes(most, looked, Ste::v)).unwrap();
        found.into_iter().map(|(sid, _)| sid).collect::<Vec<_>>()
    };
    assert_eq!(listed(8, 1 << 20), [0xff07]);
    assert_eq!(listed(0, 1 << 20), []);
    assert_eq!(listed(8, 0x100), [], "that many are looked at");
}

/// STRTAB_STE_0_S1FMT is bits 5:4, STRTAB_STE_0_S1CTXPTR_MASK bits 51:6, STRTAB_STE_0_S1CDMAX bits
/// 63:59; CTXDESC_L1_DESC_V bit 0, CTXDESC_L1_DESC_L2PTR_MASK bits 51:12.
#[test]
fn context_descriptors_are_found_as_the_model_finds_them() {
    let driver = Driver::ready();
    let mut ste = ste_stage1(CONTEXT_TABLE, 16);
    ste[0] |= 2 << 4;
    driver.set_ste(SID, ste);
    let (leaf, words) = (0x2_0800_0000, cd_sva(9, Driver::root(9)));
    // A leaf of 1024 contexts is aligned to 64 KiB.
    driver.memory.store(CONTEXT_TABLE + 8, &[leaf | 0x5000 | 1]);
    driver.memory.store(leaf + 64 * 2, &words);
    let cd = view(&driver, |view| view.cd(SID, 1026)).unwrap();
    assert_eq!((cd.at, cd.it.0, cd.it.asid()), (leaf + 128, words, 9));
    let missing = |ssid| view(&driver, |view| view.cd(SID, ssid)).unwrap_err();
    let second = |ssid| Missing::SecondLevelOfContexts {
        ssid,
        descriptor: 0,
    };
    assert_eq!(missing(2048), second(2048));
    assert_eq!(
        missing(1 << 16),
        Missing::Substream {
            ssid: 1 << 16,
            log2_size: 16
        }
    );
    // Linear: S1ContextPtr counts from bit 6.
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE + 64, 3));
    driver.memory.store(CONTEXT_TABLE + 64 * 4, &words);
    assert_eq!(
        view(&driver, |view| view.cd(SID, 3)).unwrap().at,
        CONTEXT_TABLE + 64 * 4
    );
    assert_eq!(view(&driver, |view| view.cds(SID, 9)).unwrap().len(), 1);
    // S1DSS is SSID0: without a SubstreamID it is context 0.
    let index = |ssid| view(&driver, |view| view.context_index(SID, ssid));
    assert_eq!((index(None), index(Some(3))), (Some(0), Some(3)));
    driver.set_ste(SID, [0; 8]);
    assert_eq!(missing(0), Missing::InvalidStream(SID));
    // S1CDMax beyond SMMU_IDR1.SSIDSIZE.
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 20));
    assert_eq!(missing(0), Missing::BadStream(SID));
    // Two pages, what the walk of addresses needs, are of stage 2.
    driver.set_ste(SID, ste_stage2(7, STAGE2_ROOT));
    assert_eq!(missing(0), Missing::Stage1(SID));
}

#[test]
fn what_the_model_refuses_is_refused() {
    let driver = Driver::with_process();
    let outcome = |spoil: fn(&mut [u64; 8])| {
        let mut cd = cd_sva(1, Driver::root(1));
        spoil(&mut cd);
        driver.set_cd(1, cd);
        view(&driver, |view| view.walk(SID, 1, 0x1000))
    };
    // T0SZ is bits 5:0: 12 would be 52 bits, 60 would be 4.
    for spoil in [
        |cd: &mut [u64; 8]| cd[0] = cd[0] & !0x3f | 12,
        |cd: &mut [u64; 8]| cd[0] = cd[0] & !0x3f | 60,
    ] {
        assert_eq!(outcome(spoil).unwrap_err(), Missing::BadContext(1));
    }
    // CTXDESC_CD_0_V is bit 31, CTXDESC_CD_0_TCR_EPD0 bit 14.
    assert_eq!(
        outcome(|cd| cd[0] &= !(1 << 31)).unwrap_err(),
        Missing::InvalidContext
    );
    assert_eq!(outcome(|cd| cd[0] |= 1 << 14).unwrap().end, End::NoTables);
    // TTB0 is aligned to its table: with T0SZ of 16, 4 KiB.
    let at = outcome(|cd| cd[1] |= 0xff0).unwrap().steps[0].at;
    assert_eq!(at, Driver::root(1));
}

#[test]
fn a_walk_ends_where_the_model_s_does() {
    let driver = Driver::with_process();
    driver.map(0x1000, 0x10_0000 | USER_RW);
    driver.map(0x2000, 0x10_1000 | USER_RO);
    driver.map_at(Driver::root(1), 2, 0x20_0000, 0x4000_0000 | USER_RW & !2);
    for address in [0x1ff0, 0x2008, 0x2f_1230] {
        let pending = driver.access(address, Access::READ);
        assert_eq!(walk(&driver, address).output(), Some(pending.address()));
    }
    let page = walk(&driver, 0x2008);
    let kinds: Vec<_> = page
        .steps
        .iter()
        .map(|step| (step.level, step.kind))
        .collect();
    let tables = [0, 1, 2].map(|level| (level, Kind::Table));
    assert_eq!(kinds, [&tables[..], &[(3, Kind::Page)]].concat());
    let End::Mapped {
        rights, size_log2, ..
    } = page.end
    else {
        panic!("{page:?}");
    };
    assert!(rights.permit(Access::READ) && !rights.permit(Access::WRITE) && rights.accessed());
    assert_eq!(size_log2, 12);
    assert_eq!(walk(&driver, 0x3000).end, End::Translation);
    // There is no block of 512 GiB, and what is beyond 48 bits of output is F_ADDR_SIZE.
    driver.map_at(Driver::root(1), 0, 1 << 40, USER_RW & !2);
    let reserved = walk(&driver, 1 << 40);
    assert_eq!(
        (reserved.end, reserved.steps[0].kind),
        (End::Translation, Kind::Reserved)
    );
    let beyond = End::Beyond {
        stage: 1,
        input_bits: 48,
    };
    assert_eq!(walk(&driver, 1 << 48).end, beyond);
}

#[test]
fn stage_2_is_walked_for_each_descriptor_and_for_the_page() {
    let driver = Driver::virtual_machine();
    driver.map(0x1000, 0x7000_0000 | USER_RW);
    driver.map_stage2(0x7000_0000, 0x10_0000 | STAGE2_RW & !0x80);
    let pending = driver.access(0x1008, Access::READ);
    let walk = |address| view(&driver, |view| view.walk(SID, 1, address)).unwrap();
    let both = walk(0x1008);
    assert_eq!(both.output(), Some(pending.address()));
    // Four descriptors of stage 1, each behind two of stage 2 (a block of 1 GiB), and four more.
    assert_eq!(both.stage1().count(), 4);
    assert_eq!(both.steps.len(), 4 * 3 + 4);
    let End::Mapped { rights, .. } = both.end else {
        panic!("{both:?}");
    };
    assert!(
        rights.permit(Access::READ) && !rights.permit(Access::WRITE),
        "stage 2 is read-only"
    );
    driver.map(0x2000, 0x7000_1000 | USER_RW);
    let unmapped = walk(0x2000);
    assert_eq!(
        (unmapped.end, unmapped.steps.last().unwrap().stage),
        (End::Translation, 2)
    );
    // The context descriptors are 64 GiB below where the machine has them.
    assert_eq!(
        view(&driver, |view| view.cd(SID, 1)).unwrap().at,
        CONTEXT_TABLE + 64
    );

    let driver = Driver::ready();
    driver.set_ste(SID, ste_stage2(7, STAGE2_ROOT));
    driver.map_stage2(0x1000, 0x10_0000 | STAGE2_RW);
    let alone = view(&driver, |view| view.walk(SID, 0, 0x1234)).unwrap();
    assert_eq!(
        (alone.output(), alone.stage1().count()),
        (Some(0x10_0234), 0)
    );
    let beyond = view(&driver, |view| view.walk(SID, 0, 1 << 48)).unwrap();
    assert_eq!(
        beyond.end,
        End::Beyond {
            stage: 2,
            input_bits: 48
        }
    );
}

/// Q_OVERFLOW_FLAG is bit 31; the event queue has 4 entries, so the wrap flag is bit 2.
#[test]
fn queues_have_the_entries_that_are_not_consumed() {
    let driver = Driver::ready();
    let pending = driver.begin(Transaction {
        stream: StreamId(SID),
        substream: Some(SubstreamId(1)),
        address: 0x1000,
        access: Access::READ,
    });
    assert!(pending.is_aborted());
    let queue = view(&driver, |view| view.queue(QueueName::Event)).unwrap();
    assert_eq!(
        (queue.entries(), queue.queued(), queue.enabled),
        (4, 1, true)
    );
    assert_eq!(queue.memory(), EVENT_QUEUE..EVENT_QUEUE + 128);
    assert_eq!(queue.entry(0), (0, EVENT_QUEUE));
    assert_eq!((queue.prod(), queue.cons()), ((1, false), (0, false)));
    // An index that no queue has is of a full one at most.
    driver.write32(0x1_00ac, 0x8000_0007);
    let queue = view(&driver, |view| view.queue(QueueName::Event)).unwrap();
    assert_eq!((queue.cons(), queue.overflow), ((3, true), true));
    assert_eq!(queue.queued(), 2);
    assert!(view(&driver, |view| view.queue(QueueName::PageRequest)).is_none());
}
