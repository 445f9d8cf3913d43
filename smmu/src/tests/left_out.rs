//! Features that an implementation may leave out: what software must not ask for then.

use crate::testing::{CONTEXT_TABLE, Driver, SID, USER_RW, cd_sva, ste_stage1};
use crate::{Access, Config};

/// CMD_SYNC with CS = SIG_SEV.
const SYNC_SEV: [u64; 2] = [0x46 | 2 << 12, 0];

#[test]
fn asids_of_8_bits_leave_the_others_zero() {
    for (asid16, asid, good) in [
        (true, 0x101, true),
        (false, 0x101, false),
        (false, 0xff, true),
    ] {
        let driver = Driver::started(Config {
            asid16,
            ..Config::default()
        });
        driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
        driver.set_cd(1, cd_sva(asid, Driver::root(1)));
        driver.map(0x1000, 0x10_1000 | USER_RW);

        let access = driver.access(0x1000, Access::READ);

        if good {
            assert_eq!(access.address(), 0x10_1000);
        } else {
            assert!(access.is_aborted());
            assert_eq!(driver.events()[0][0] & 0xff, 0x0a, "C_BAD_CD");
        }
    }
}

#[test]
fn a_command_names_an_asid_of_8_bits_by_8_bits() {
    for (asid16, walks_again) in [(true, false), (false, true)] {
        let driver = Driver::started(Config {
            asid16,
            ..Config::default()
        });
        driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
        driver.set_cd(1, cd_sva(1, Driver::root(1)));
        driver.map(0x1000, 0x10_1000 | USER_RW);
        driver.access(0x1000, Access::READ).address();
        let before = driver.smmu.counters().walk_steps;

        // CMD_TLBI_NH_ASID of ASID 0x101, VMID 0.
        driver.command([0x11 | 0x101 << 48, 0]);
        driver.access(0x1000, Access::READ).address();

        assert_eq!(driver.smmu.counters().walk_steps > before, walks_again);
    }
}

#[test]
fn tables_of_contexts_have_one_level_without_cd2l() {
    for format in [1, 2] {
        let driver = Driver::started(Config {
            two_level_contexts: false,
            ..Config::default()
        });
        let mut ste = ste_stage1(CONTEXT_TABLE, 3);
        ste[0] |= format << 4;
        driver.set_ste(SID, ste);

        assert!(driver.access(0x1000, Access::READ).is_aborted());
        assert_eq!(driver.events()[0][0] & 0xff, 0x04, "C_BAD_STE");
    }
}

#[test]
fn nobody_is_woken_without_sev() {
    for (sev, events) in [(true, 1), (false, 0)] {
        let driver = Driver::started(Config {
            sev,
            ..Config::default()
        });
        driver.interrupts.take_events();

        driver.command(SYNC_SEV);

        assert_eq!(driver.interrupts.take_events(), events);
        assert_eq!(driver.read32(0x98), driver.read32(0x9c), "it is done");
    }
}
