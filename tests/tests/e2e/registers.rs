//! Registers: the driver's counters, what is not modelled, and errors of the accelerator.

use stallbox_tests::{Guest, Record, Run};

use super::REVISIONS;

const JOB: &str = "zipsva compress --in /init --out /tmp/x";

fn unmodelled(run: &Run) -> Vec<Record> {
    let trace = run.trace();
    let told = trace.into_iter().filter(|it| it.event == "unmodelled");
    told.collect()
}

/// The value of a line such as `QM_DFX_SQE_CNT                = 0x00000001`.
fn register(run: &Run, name: &str) -> u32 {
    let line = run.output().lines().find(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(name) && words.next() == Some("=")
    });
    let value = line.and_then(|line| line.rsplit_once("0x"));
    let value = value.unwrap_or_else(|| panic!("no {name}\n{run}")).1;
    u32::from_str_radix(value.trim(), 16).unwrap_or_else(|error| panic!("{error}\n{run}"))
}

/// What the drivers use is all there: with both accelerators, at work, debugfs read from end to end.
#[test]
fn stock_drivers_meet_no_register_that_is_not_modelled() {
    for revision in REVISIONS {
        let debugfs = "find /sys/kernel/debug/hisi_zip -type f | xargs cat > /dev/null 2>&1";
        let script =
            format!("{JOB} && zipabuse bad-descriptors && svatest copy && {{ {debugfs}; true; }}");
        let run = Guest::new()
            .revision(revision)
            .option("--accel", "test-engine")
            .traced()
            .run(&script)
            .success();
        assert_eq!(unmodelled(&run).len(), 0, "{run}");
        assert!(!run.errors().contains("not modelled"), "{run}");
    }
}

/// One line and one event for each, whatever the device, and the run goes on.
#[test]
#[cfg_attr(feature = "kvm", ignore = "the host's kernel models the GIC")]
fn a_register_that_is_not_modelled_is_told_of_once() {
    // Of the ZIP the doorbell of an older revision, then of the SMMU, clock, interrupt controller, a window
    // where nothing is, and a function that is not there.
    let script = "bar=$(sed -n 3p /sys/bus/pci/devices/0000:00:01.0/resource)
        set -- $bar
        at() { printf '0x%x' $(($1 + $2)); }
        devmem $(at $1 0x340) 32
        devmem $(at $1 0x340) 32 7
        devmem 0x9050100 32; devmem 0x9010024 32; devmem 0x8000040 32 1; devmem 0x1f000000 32
        devmem 0x4010018004 32";
    let run = Guest::new().traced().run(script).success();
    let told: Vec<(String, String, bool)> = unmodelled(&run)
        .iter()
        .map(|it| {
            let text = |field| it.text(field).unwrap_or_default().to_owned();
            (text("block"), text("offset"), it.is("write"))
        })
        .collect();
    let expected = [
        ("bar2", "0x340", false),
        ("smmu", "0x100", false),
        ("rtc", "0x24", false),
        ("gic-distributor", "0x40", true),
        ("pcie-window", "0xf000000", false),
        ("config", "0x4", false),
    ];
    let expected = expected.map(|(block, offset, write)| (block.into(), offset.into(), write));
    assert_eq!(told, expected, "{run}");
    let lines = run.errors().matches("not modelled").count();
    assert_eq!(lines, expected.len(), "{run}");
    assert!(
        run.errors().contains("the guest read 00:01.0 bar2 0x340"),
        "{run}"
    );
}

#[test]
fn the_counters_behind_debugfs_count() {
    for revision in REVISIONS {
        let debugfs = "/sys/kernel/debug/hisi_zip/0000:00:01.0";
        let script = format!("{JOB}; {JOB}; cat {debugfs}/qm/regs {debugfs}/comp_core0/regs");
        let run = Guest::new().revision(revision).run(&script).success();
        for name in [
            "QM_DFX_SEND_SQE_TO_ACC_CNT",
            "QM_DFX_WB_SQE_FROM_ACC_CNT",
            "QM_DFX_ACC_FINISH_CNT",
            "HZIP_GET_BD_NUM",
            "HZIP_GET_RIGHT_BD",
            "HZIP_DONE_BD_NUM",
        ] {
            assert_eq!(register(&run, name), 2, "{name}\n{run}");
        }
        // Of queue 0, which is selected; the second program had the next.
        assert_eq!(register(&run, "QM_DFX_SQE_CNT"), 1, "{run}");
        assert_eq!(register(&run, "QM_DFX_CQE_CNT"), 1, "{run}");
        assert!(register(&run, "QM_DFX_DB_CNT") >= 4, "{run}");
        assert!(
            register(&run, "HZIP_PRODUCED_BYTE") < register(&run, "HZIP_CONSUMED_BYTE"),
            "{run}"
        );
    }
}

/// Stock Linux without ACPI has no way to reset the device; that the error got there is the point.
#[test]
fn a_refused_access_can_reach_the_driver_as_an_error_of_the_device() {
    for revision in REVISIONS {
        let accelerator = format!("zip,rev={revision},dma_error=ras");
        let run = Guest::new()
            .option("--accel", accelerator)
            .run("zipabuse unmapped; sleep 1; dmesg");
        for line in [
            "zip_axi_rresp_err [error status=0x4] found",
            "zip_axi_bresp_err [error status=0x8] found",
            "Controller resetting...",
            "No reset method!",
        ] {
            assert!(run.output().contains(line), "no \"{line}\"\n{run}");
        }
    }
}

/// As UADK printed it on hardware.
#[test]
fn a_refused_access_completes_with_the_status_of_the_hardware() {
    for revision in REVISIONS {
        let script = "zipabuse unmapped && zipabuse readonly-dst && dmesg | grep -c axi_rresp";
        let run = Guest::new().revision(revision).run(script);
        assert!(run.output().contains("last status 0x41"), "{run}");
        assert!(
            run.output().contains("readonly-dst: ok status 0x41"),
            "{run}"
        );
        assert!(run.output().lines().any(|line| line == "0"), "{run}");
    }
}
