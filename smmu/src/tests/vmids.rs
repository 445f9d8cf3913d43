//! Which translations an invalidation of a virtual machine takes, and which it leaves.

use crate::testing::{CONTEXT_TABLE, Driver, USER_RW, cd_sva, ste_nested, ste_stage1, ste_stage2};
use crate::{Access, StreamId, SubstreamId, Transaction};

/// A leaf of the same kind, but for all ASIDs.
const GLOBAL: u64 = USER_RW & !0x800;
const STAGE2_RW: u64 = crate::testing::STAGE2_RW;
const MOVED: u64 = 0x80_0000_0000;

/// The first table of stage 2 of a VMID.
fn stage2_root(vmid: u16) -> u64 {
    0x5_8000_0000 + 0x1000 * u64::from(vmid)
}

/// The first table of stage 1 of a stream.
fn stage1_root(sid: u32) -> u64 {
    0x5_9000_0000 + 0x1000 * u64::from(sid)
}

/// Who translates: a stream with one context, of ASID 1, in a VMID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Stage 1 only.
    First,
    /// Stage 2 only.
    Second,
    Both,
}

const STREAMS: [(u32, Kind, u16); 6] = [
    (1, Kind::First, 1),
    (2, Kind::First, 2),
    (3, Kind::Second, 3),
    (4, Kind::Second, 4),
    (5, Kind::Both, 5),
    (6, Kind::Both, 6),
];

fn driver() -> Driver {
    let driver = Driver::ready();
    for (sid, kind, vmid) in STREAMS {
        let contexts = CONTEXT_TABLE + 0x1000 * u64::from(sid);
        let mut ste = match kind {
            Kind::First => ste_stage1(contexts, 3),
            Kind::Second => ste_stage2(vmid, stage2_root(vmid)),
            Kind::Both => ste_nested(contexts, 3, vmid, stage2_root(vmid)),
        };
        ste[2] |= u64::from(vmid);
        driver.set_ste(sid, ste);
        let cd = cd_sva(1, stage1_root(sid));
        driver.memory.store(contexts + 64, &cd);
        if kind == Kind::Both {
            // Stage 1's tables, and its context descriptors, where they are.
            for gib in [CONTEXT_TABLE, 0x5_0000_0000, 0x5_4000_0000, 0x5_8000_0000] {
                driver.map_at(stage2_root(vmid), 1, gib, gib | STAGE2_RW & !2);
            }
        }
    }
    map(&driver, 0);
    driver
}

/// Page 0x1000 of each stream, and 0x2000, which is global where there are ASIDs; at `base` of
/// physical memory. What stage 1 says of a stream that has both stays as it is.
fn map(driver: &Driver, base: u64) {
    for (sid, kind, vmid) in STREAMS {
        for (page, leaf) in [(0x1000_u64, USER_RW), (0x2000, GLOBAL)] {
            let first = stage1_root(sid);
            match kind {
                Kind::First => {
                    driver.map_at(first, 3, page, (base + page + 0x10_0000) | leaf);
                }
                Kind::Second => {
                    driver.map_at(
                        stage2_root(vmid),
                        3,
                        page,
                        (base + page + 0x10_0000) | STAGE2_RW,
                    );
                }
                Kind::Both => {
                    driver.map_at(first, 3, page, (page + 0x7000) | leaf);
                    let second = (base + page + 0x10_0000) | STAGE2_RW;
                    driver.map_at(stage2_root(vmid), 3, page + 0x7000, second);
                }
            }
        }
    }
}

fn read(driver: &Driver, sid: u32, address: u64) -> u64 {
    let kind = STREAMS[sid as usize - 1].1;
    let transaction = Transaction {
        stream: StreamId(sid),
        substream: (kind != Kind::Second).then_some(SubstreamId(1)),
        address,
        access: Access::READ,
    };
    driver.begin(transaction).address()
}

/// For each stream, whether its two pages are still what they were before `commands`.
fn survivors(commands: &[[u64; 2]]) -> [[bool; 2]; 6] {
    let driver = driver();
    for (sid, ..) in STREAMS {
        read(&driver, sid, 0x1000);
        read(&driver, sid, 0x2000);
    }
    map(&driver, MOVED);
    for &command in commands {
        driver.command(command);
    }
    driver.sync();
    STREAMS.map(|(sid, ..)| [0x1000, 0x2000].map(|page| read(&driver, sid, page) < MOVED))
}

/// All stay but those of `sid`, which are as told.
fn only(sid: usize, kept: [bool; 2]) -> [[bool; 2]; 6] {
    let mut all = [[true; 2]; 6];
    all[sid - 1] = kept;
    all
}

const fn vmid(vmid: u64) -> u64 {
    vmid << 32
}

const ASID: u64 = 1 << 48;

#[test]
fn nothing_goes_without_a_command() {
    assert_eq!(survivors(&[]), [[true; 2]; 6]);
    assert_eq!(survivors(&[[0x04, 31]]), [[true; 2]; 6]);
}

#[test]
fn nh_all_takes_stage_1_of_its_vmid() {
    assert_eq!(survivors(&[[0x10 | vmid(1), 0]]), only(1, [false; 2]));
    assert_eq!(
        survivors(&[[0x10 | vmid(3), 0]]),
        [[true; 2]; 6],
        "stage 2 alone stays"
    );
    // What stage 2 alone says of the page is kept too, so the page is as it was.
    assert_eq!(survivors(&[[0x10 | vmid(5), 0]]), [[true; 2]; 6]);
}

#[test]
fn nh_asid_and_nh_va_look_at_the_vmid() {
    let kept = survivors(&[[0x11 | vmid(2) | ASID, 0]]);
    assert_eq!(kept, only(2, [false, true]));
    let kept = survivors(&[[0x12 | vmid(2) | ASID, 0x1000]]);
    assert_eq!(kept, only(2, [false, true]));
    let kept = survivors(&[[0x12 | vmid(2) | ASID, 0x2000]]);
    assert_eq!(kept, only(2, [true, false]));
    let kept = survivors(&[[0x12 | vmid(2) | ASID << 1, 0x1000]]);
    assert_eq!(kept, [[true; 2]; 6]);
    let kept = survivors(&[[0x13 | vmid(2), 0x1000]]);
    assert_eq!(kept, only(2, [false, true]));
}

#[test]
fn s12_vmall_takes_both_stages_of_its_vmid() {
    for sid in 1..=6 {
        let kept = survivors(&[[0x28 | vmid(sid as u64), 0]]);
        assert_eq!(kept, only(sid, [false; 2]));
    }
}

#[test]
fn s2_ipa_takes_stage_2_alone_by_intermediate_address() {
    let kept = survivors(&[[0x2a | vmid(3), 0x1000]]);
    assert_eq!(kept, only(3, [false, true]));
    // With a range, a granule, a level.
    let kept = survivors(&[[0x2a | vmid(4) | 1 << 12, 0x1000 | 1 << 10]]);
    assert_eq!(kept, only(4, [false; 2]));
    let kept = survivors(&[[0x2a | vmid(4), 0x2000 | 1 << 10 | 3 << 8]]);
    assert_eq!(kept, only(4, [true, false]));
    let kept = survivors(&[[0x2a | vmid(4), 0x2000 | 1 << 10 | 2 << 8]]);
    assert_eq!(kept, [[true; 2]; 6]);
    let kept = survivors(&[[0x2a | vmid(4) | 31 << 12, 3 << 10]]);
    assert_eq!(kept, [[true; 2]; 6]);
}

#[test]
fn what_has_stage_1_in_front_takes_two_invalidations() {
    // The intermediate address of the first page is 0x8000.
    let s2_ipa = [0x2a | vmid(5), 0x8000];
    assert_eq!(survivors(&[s2_ipa]), [[true; 2]; 6]);
    let kept = survivors(&[s2_ipa, [0x10 | vmid(5), 0]]);
    assert_eq!(kept, only(5, [false, true]));
    let kept = survivors(&[s2_ipa, [0x13 | vmid(5), 0x1000]]);
    assert_eq!(kept, only(5, [false, true]));
    let kept = survivors(&[s2_ipa, [0x13 | vmid(6), 0x1000]]);
    assert_eq!(kept, [[true; 2]; 6], "another virtual machine's");
}

#[test]
fn nsnh_all_takes_everything() {
    assert_eq!(survivors(&[[0x30, 0]]), [[false; 2]; 6]);
}

#[test]
fn a_page_of_a_block_goes_with_any_address_of_the_block() {
    // Stage 1 has a block of 2 MiB, stage 2 pages: what is kept is a page, and software that
    // unmaps the block names its first address, and its level.
    for (command, goes) in [
        ([0x12 | vmid(5) | ASID, 0x20_0000], true),
        ([0x12 | vmid(5) | ASID, 0x20_0000 | 1 << 10 | 2 << 8], true),
        ([0x12 | vmid(5) | ASID, 0x20_0000 | 1 << 10 | 3 << 8], false),
        ([0x12 | vmid(5) | ASID, 0x40_0000], false),
    ] {
        let driver = driver();
        driver.map_at(stage1_root(5), 2, 0x20_0000, 0x4000_0000 | USER_RW & !2);
        driver.map_at(stage2_root(5), 3, 0x4000_5000, 0x70_0000 | STAGE2_RW);
        assert_eq!(read(&driver, 5, 0x20_5000), 0x70_0000);
        driver.map_at(stage1_root(5), 2, 0x20_0000, 0x8000_0000 | USER_RW & !2);
        driver.map_at(stage2_root(5), 3, 0x8000_5000, 0x90_0000 | STAGE2_RW);

        driver.command(command);

        let seen = read(&driver, 5, 0x20_5000);
        assert_eq!(seen == 0x90_0000, goes, "{command:#x?}");
    }
}

#[test]
fn virtual_machines_do_not_see_each_others_translations() {
    // One ASID, one address, two VMIDs.
    let driver = driver();
    driver.map_at(stage1_root(1), 3, 0x1000, 0x10_0000 | USER_RW);
    driver.map_at(stage1_root(2), 3, 0x1000, 0x20_0000 | USER_RW);
    driver.map_at(stage1_root(1), 3, 0x2000, 0x30_0000 | GLOBAL);
    driver.map_at(stage1_root(2), 3, 0x2000, 0x40_0000 | GLOBAL);
    for _ in 0..2 {
        assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);
        assert_eq!(read(&driver, 2, 0x1000), 0x20_0000);
        assert_eq!(read(&driver, 1, 0x2000), 0x30_0000);
        assert_eq!(read(&driver, 2, 0x2000), 0x40_0000);
    }
}

#[test]
fn streams_of_one_virtual_machine_share_stage_2() {
    let driver = driver();
    driver.set_ste(4, ste_stage2(3, stage2_root(4)));
    let before = read(&driver, 3, 0x1000);
    driver.map_at(stage2_root(4), 3, 0x1000, MOVED | STAGE2_RW);

    assert_eq!(read(&driver, 4, 0x1000), before);
}

#[test]
fn configuration_is_invalidated_whatever_the_stages() {
    // A nested stream's context descriptor stays cached through every TLBI, and its stream table
    // entry through CFGI_CD.
    let driver = driver();
    read(&driver, 5, 0x1000);
    let contexts = CONTEXT_TABLE + 0x5000;
    driver.memory.store(contexts + 64, &[0]);
    driver.command([0x28 | vmid(5), 0]);
    driver.command([0x30, 0]);
    assert_eq!(read(&driver, 5, 0x1000), 0x10_1000);

    driver.command([0x05 | 1 << 12 | 5 << 32, 1]);

    let transaction = Transaction {
        stream: StreamId(5),
        substream: Some(SubstreamId(1)),
        address: 0x1000,
        access: Access::READ,
    };
    assert!(driver.begin(transaction).is_aborted());
    assert_eq!(driver.events()[0][0] & 0xff, 0x0a);
}
