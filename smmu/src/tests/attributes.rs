//! What single bits of a context descriptor and of descriptors promise: HAD, TBI, WXN, PAN. All of
//! them together are in [`super::walks`].

use crate::Access;
use crate::testing::{Driver, USER_RO, USER_RW, cd_sva};

/// A process whose context descriptor has these bits in its first and second word, and whose faults
/// abort.
fn process(word0: u64, word1: u64) -> Driver {
    let driver = Driver::ready();
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] = cd[0] & !(1 << 44) | word0;
    cd[1] |= word1;
    driver.set_cd(1, cd);
    driver
}

/// Whether each access of a page is permitted, once by a walk and once from whatever that left.
fn permitted(driver: &Driver, leaf: u64, accesses: &[Access]) -> Vec<bool> {
    driver.map(0x1000, 0x10_0000 | leaf);
    let ask = || -> Vec<bool> {
        let each = accesses.iter();
        each.map(|&access| !driver.access(0x1000, access).is_aborted())
            .collect()
    };
    let first = ask();
    assert_eq!(ask(), first);
    first
}

#[test]
fn had_makes_attributes_of_tables_meaningless() {
    // APTable, UXNTable and PXNTable of the first table.
    let everything = 0b1111 << 59;
    for (had, expected) in [(0, [false; 3]), (1 << 1, [true; 3])] {
        let driver = process(0, had);
        driver.map(0x1000, 0);
        let table = driver.memory.load(Driver::root(1));
        driver.memory.store(Driver::root(1), &[table | everything]);

        let leaf = USER_RW & !(1 << 54);
        let all = [Access::READ, Access::WRITE, Access::EXECUTE];
        assert_eq!(permitted(&driver, leaf, &all), expected);
    }
}

#[test]
fn tbi_leaves_the_top_byte_out_of_the_address_but_not_out_of_the_record() {
    let tagged = 0xa500_0000_0000_1008;
    let driver = process(0, 0);
    driver.map(0x1000, 0x10_0000 | USER_RW);
    assert!(driver.access(tagged, Access::READ).is_aborted());
    assert_eq!(driver.events()[0][2], tagged);

    // TBI0.
    let driver = process(1 << 38, 0);
    driver.map(0x1000, 0x10_0000 | USER_RW);
    assert_eq!(driver.access(tagged, Access::READ).address(), 0x10_0008);
    assert_eq!(driver.access(0x1008, Access::READ).address(), 0x10_0008);
    assert_eq!(driver.smmu.counters().tlb_hits, 1, "one entry for all tags");
    let unmapped = tagged + 0x1000;
    assert!(driver.access(unmapped, Access::READ).is_aborted());
    assert_eq!(driver.events()[0][2], unmapped);
}

#[test]
fn wxn_forbids_to_execute_what_can_be_written() {
    let executable = |leaf: u64| leaf & !(3 << 53);
    let fetches = [Access::EXECUTE, Access::EXECUTE.privileged()];
    for (wxn, leaf, expected) in [
        // What is writable unprivileged never executes privileged.
        (0, executable(USER_RW), [true, false]),
        (1 << 36, executable(USER_RW), [false, false]),
        (1 << 36, executable(USER_RO), [true, true]),
        // Writable for privileged accesses only.
        (0, executable(USER_RW) & !(1 << 6), [true, true]),
        (1 << 36, executable(USER_RW) & !(1 << 6), [true, false]),
    ] {
        let driver = process(wxn, 0);
        assert_eq!(permitted(&driver, leaf, &fetches), expected, "{leaf:#x}");
    }
}

#[test]
fn pan_keeps_privileged_data_accesses_off_unprivileged_pages() {
    let accesses = [
        Access::READ,
        Access::READ.privileged(),
        Access::WRITE.privileged(),
        Access::EXECUTE.privileged(),
    ];
    let executable = USER_RO & !(3 << 53);
    for (pan, leaf, expected) in [
        (0, USER_RW, [true, true, true, false]),
        (1 << 40, USER_RW, [true, false, false, false]),
        (1 << 40, USER_RW & !(1 << 6), [false, true, true, false]),
        (1 << 40, executable, [true, false, false, true]),
    ] {
        let driver = process(pan, 0);
        assert_eq!(permitted(&driver, leaf, &accesses), expected, "{leaf:#x}");
    }
}
