//! How a fault ends: with an abort, as if it had been done, or not until software says so; where an
//! implementation leaves less to choose (TERM_MODEL, STALL_MODEL).

use crate::testing::{CONTEXT_TABLE, Driver, SID, STAGE2_ROOT, cd_sva, ste_nested, ste_stage1};
use crate::{Aborted, Access, Config, StallModel};

/// CD.A, CD.R and CD.S.
const A: u64 = 1 << 46;
const R: u64 = 1 << 45;
const S: u64 = 1 << 44;

fn driver(config: Config, ars: u64) -> Driver {
    let driver = Driver::started(config);
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] = cd[0] & !(A | R | S) | ars;
    driver.set_cd(1, cd);
    driver
}

fn raz_wi() -> Config {
    Config {
        raz_wi: true,
        ..Config::default()
    }
}

#[test]
fn a_and_r_choose_how_a_fault_ends_and_whether_it_is_recorded() {
    // *Fault configuration (A, R, S bits)*.
    for (ars, raz_wi_ends, recorded) in [
        (0, true, false),
        (R, true, true),
        (A, false, false),
        (A | R, false, true),
    ] {
        let driver = driver(raz_wi(), ars);
        for access in [Access::READ, Access::WRITE] {
            let outcome = driver.access(0x1000, access).outcome();

            let expected = Aborted {
                stalls: 0,
                raz_wi: raz_wi_ends,
            };
            assert_eq!(outcome, Some(Err(expected)));
            assert_eq!(driver.events().len(), usize::from(recorded));
        }
    }
}

#[test]
fn with_s_neither_a_nor_r_is_looked_at() {
    for ars in [S, S | A, S | R, S | A | R] {
        let driver = driver(raz_wi(), ars);

        assert!(driver.access(0x1000, Access::READ).is_waiting());

        assert_eq!(driver.events()[0][1] >> 31 & 1, 1);
    }
}

#[test]
fn without_a_only_faults_of_translation_end_as_if_done() {
    // Everything else is an abort: a table that aborts, a stage 2 that has nothing.
    let driver = driver(raz_wi(), R);
    driver.memory.abort_at(Driver::root(1));
    let walk = driver.access(0x1000, Access::READ).outcome();
    assert_eq!(walk, Some(Err(Aborted::after(0))));
    driver.memory.heal();

    driver.set_ste(SID, ste_nested(CONTEXT_TABLE, 3, 7, STAGE2_ROOT));
    let second = driver.access(0x1000, Access::READ).outcome();
    assert_eq!(second, Some(Err(Aborted::after(0))));
}

#[test]
fn a_resume_can_end_a_stall_as_if_it_had_been_done() {
    // Ac is bit 12, Ab bit 13.
    for (config, ac_ab, expected) in [
        (raz_wi(), 0, true),
        (raz_wi(), 2, false),
        (Config::default(), 0, false),
        (Config::default(), 2, false),
    ] {
        let driver = driver(config, A | R | S);
        let pending = driver.access(0x1000, Access::READ);

        driver.resume(0, ac_ab);

        let expected = Aborted {
            stalls: 1,
            raz_wi: expected,
        };
        assert_eq!(pending.outcome(), Some(Err(expected)));
    }
}

#[test]
fn a_clear_is_illegal_where_all_terminations_are_aborts() {
    let driver = driver(Config::default(), R);

    assert!(driver.access(0x1000, Access::READ).is_aborted());

    assert_eq!(driver.events(), [[0x105_0000_180a, 0, 0, 0]]);
}

#[test]
fn stalls_are_what_the_stall_model_leaves() {
    let model = |stall_model| Config {
        stall_model,
        stall_max: if stall_model == StallModel::Terminate {
            0
        } else {
            8
        },
        ..Config::default()
    };
    // (model, S, S1STALLD, event)
    for (stall_model, s, s1stalld, event) in [
        (StallModel::Both, S, false, 0x10),
        (StallModel::Both, 0, false, 0x10),
        (StallModel::Both, S, true, 0x0a),
        (StallModel::Both, 0, true, 0x10),
        (StallModel::Terminate, S, false, 0x0a),
        (StallModel::Terminate, 0, false, 0x10),
        (StallModel::Terminate, 0, true, 0x04),
        (StallModel::Stall, S, false, 0x10),
        (StallModel::Stall, 0, false, 0x0a),
        (StallModel::Stall, S, true, 0x04),
    ] {
        let driver = driver(model(stall_model), A | R | s);
        let mut ste = ste_stage1(CONTEXT_TABLE, 3);
        ste[1] |= u64::from(s1stalld) << 27;
        driver.set_ste(SID, ste);

        let pending = driver.access(0x1000, Access::READ);

        let seen = driver.events()[0];
        assert_eq!(seen[0] & 0xff, event, "{stall_model:?} {s:#x} {s1stalld}");
        assert_eq!(pending.is_waiting(), event == 0x10 && s == S);
    }
}
