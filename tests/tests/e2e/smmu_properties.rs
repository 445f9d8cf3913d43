//! Other SMMUs than the default one (`--smmu`): what Linux finds out about each, and what it makes of
//! it.

use stallbox_tests::{Guest, Run};

/// Boots on such an SMMU, and has the kernel's lines about it on the console before the script runs.
fn run(smmu: &str, script: &str) -> Run {
    Guest::new()
        .option("--smmu", smmu)
        .run(&format!("dmesg | grep -o 'arm-smmu-v3 .*'; {script}"))
}

/// The features that Linux found, as in `(features 0x000a8f47)` (`arm_smmu_device_hw_probe`).
#[track_caller]
fn features(run: &Run) -> u32 {
    let (_, rest) = run
        .output()
        .split_once("(features 0x")
        .unwrap_or_else(|| panic!("no features\n{run}"));
    u32::from_str_radix(&rest[..8], 16).unwrap()
}

// ARM_SMMU_FEAT_* of Linux 6.12, drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h.
const TWO_LEVEL_STREAMS: u32 = 1 << 0;
const TWO_LEVEL_CONTEXTS: u32 = 1 << 1;
const ATS: u32 = 1 << 5;
const SEV: u32 = 1 << 6;
const MSI: u32 = 1 << 7;
const COHERENCY: u32 = 1 << 8;
const STALLS: u32 = 1 << 11;
const HYP: u32 = 1 << 12;
const STALL_FORCE: u32 = 1 << 13;
const RANGE_INVALIDATION: u32 = 1 << 15;
const NESTING: u32 = 1 << 19;
const SVA: u32 = 1 << 17;
const HARDWARE_ACCESS_FLAG: u32 = 1 << 21;

/// Boots, checks the features that the default SMMU has not (`more`) or has and this one lacks (`fewer`),
/// and lets the device survive all that `zipabuse` does.
#[track_caller]
fn is_good(smmu: &str, more: u32, fewer: u32) {
    let run = run(smmu, "zipabuse all").success();
    let found = features(&run);
    assert_eq!(found & more, more, "{smmu}: {found:#x}\n{run}");
    assert_eq!(found & fewer, 0, "{smmu}: {found:#x}\n{run}");
    assert!(run.summary().device_faults > 0, "{smmu}\n{run}");
}

/// Boots where Linux shares no address space, so that no program can have a queue.
#[track_caller]
fn has_no_sva(smmu: &str, fewer: u32) {
    let run = run(smmu, "zipabuse unmapped").status(1);
    assert_eq!(features(&run) & fewer, 0, "{smmu}\n{run}");
    assert!(
        run.output().contains("cannot open a queue"),
        "{smmu}\n{run}"
    );
    assert_eq!(run.summary().device_faults, 0, "{smmu}\n{run}");
}

#[test]
fn the_default_smmu_has_what_the_others_lack() {
    let run = Guest::new()
        .run("dmesg | grep -o 'arm-smmu-v3 .*'")
        .success();
    let all = TWO_LEVEL_STREAMS
        | TWO_LEVEL_CONTEXTS
        | SEV
        | COHERENCY
        | STALLS
        | RANGE_INVALIDATION
        | NESTING
        | SVA;
    let none = ATS | HYP | STALL_FORCE | HARDWARE_ACCESS_FLAG;
    assert_eq!(features(&run) & (all | none), all, "{run}");
}

#[test]
fn the_least_that_linux_shares_address_spaces_with() {
    is_good(
        "ril=false,ssid_bits=8,cd2l=false,sev=false,stages=s1,st_level=linear,sid_bits=6,granules=4k",
        0,
        RANGE_INVALIDATION | TWO_LEVEL_CONTEXTS | TWO_LEVEL_STREAMS | SEV | NESTING,
    );
}

#[test]
fn an_smmu_that_always_stalls() {
    is_good("stall_model=force", STALL_FORCE | STALLS, 0);
}

/// `arm_smmu_device_iidr_probe`: errata 1076982 and 1209401 of the MMU-600 r0p0, and the MMU-700, each
/// batch of whose commands must end in CMD_SYNC. With MSIs Linux polls for its end in memory.
#[test]
fn errata_are_worked_around() {
    is_good("iidr=0x4830043b", 0, SEV | NESTING);
    is_good("iidr=0x4870043b,msi=true", MSI, NESTING);
}

#[test]
fn an_smmu_with_nearly_everything() {
    let smmu = "hyp=true,ats=true,pri=true,msi=true,httu=dirty,ssid_bits=20,sid_bits=32,oas_bits=52,\
                va_bits=52,ds=true,stt=true,e0pd=true,term_model=raz-wi";
    is_good(smmu, HYP | ATS | MSI | HARDWARE_ACCESS_FLAG, 0);
}

#[test]
fn where_linux_shares_no_address_space_the_device_has_no_queue() {
    has_no_sva("stall_model=terminate", STALLS);
    has_no_sva("stages=s2", NESTING);
    has_no_sva("asid_bits=8", SVA);
}

/// All others one by one.
#[test]
#[ignore = "30 boots: `cargo test -p stallbox-tests --test e2e -- --ignored smmu_properties`"]
fn each_property_alone() {
    for (smmu, more, fewer) in [
        ("ril=false", 0, RANGE_INVALIDATION),
        ("ssid_bits=4", 0, 0),
        ("ssid_bits=20", 0, 0),
        ("stages=s1", 0, NESTING),
        ("httu=access", HARDWARE_ACCESS_FLAG, 0),
        ("hyp=true", HYP, 0),
        ("ats=true", ATS, 0),
        ("ats=true,pri=true", ATS, 0),
        ("vmid_bits=8", 0, 0),
        ("msi=true", MSI, 0),
        ("sev=false", 0, SEV),
        ("cd2l=false", 0, TWO_LEVEL_CONTEXTS),
        ("st_level=linear,sid_bits=6", 0, TWO_LEVEL_STREAMS),
        ("sid_bits=8", 0, TWO_LEVEL_STREAMS),
        ("sid_bits=32", 0, 0),
        ("term_model=raz-wi", 0, 0),
        ("oas_bits=52", 0, 0),
        ("granules=4k", 0, 0),
        ("va_bits=52,ds=true", 0, 0),
        ("iidr=0x4831043b", 0, NESTING),
        ("iidr=0x4832043b", 0, 0),
        ("command_queue_log2=7", 0, 0),
        ("event_queue_log2=1,stall_max=2", 0, 0),
        ("attr_perms_ovr=false,stt=true,e0pd=true", 0, 0),
        ("tlb_entries=4,ste_cache_entries=1,cd_cache_entries=1", 0, 0),
    ] {
        is_good(smmu, more, fewer);
    }
    for (smmu, fewer) in [
        ("ssid_bits=0", 0),
        ("cohacc=false", COHERENCY | SVA),
        ("oas_bits=44", SVA),
        ("sid_bits=3", TWO_LEVEL_STREAMS),
    ] {
        has_no_sva(smmu, fewer);
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_cure() {
    let engine = "test-engine,fault=pri";
    for (options, wanted) in [
        (
            vec![("--smmu", "stages=s2,ssid_bits=8")],
            "SubstreamIDs choose among contexts of stage 1",
        ),
        (vec![("--smmu", "stages=s1,hyp=true")], "needs both stages"),
        (
            vec![("--smmu", "stages=s1,vmid_bits=8")],
            "VMIDs are stage 2's",
        ),
        (vec![("--smmu", "st_level=linear")], "add `sid_bits=6`"),
        (vec![("--smmu", "pri=true")], "add `ats=true`"),
        (
            vec![("--smmu", "stall_model=terminate,stall_max=8")],
            "leave out `stall_max`",
        ),
        (vec![("--smmu", "ds=true")], "add `va_bits=52`"),
        (
            vec![("--smmu", "va_bits=52,granules=4k+16k")],
            "need 64 KiB pages or `ds`",
        ),
        (
            vec![("--smmu", "stall_model=force"), ("--accel", engine)],
            "must not be stalled",
        ),
        (
            vec![("--smmu", "ats=false"), ("--accel", engine)],
            "choose fault=stall",
        ),
        (
            vec![("--smmu", "msi=false"), ("--smmu-irq", "msi")],
            "choose --smmu-irq wired",
        ),
        (
            vec![("--smmu", "httu=none"), ("--smmu-httu", "dirty")],
            "leave one out",
        ),
        (
            vec![("--smmu", "ril=true,ril=false")],
            "`ril` is given twice",
        ),
        (
            vec![("--smmu", "ril=true"), ("--smmu", "ril=false")],
            "`ril` is given twice",
        ),
        (
            vec![("--smmu", "btm=true")],
            "do not broadcast TLB invalidations",
        ),
        (vec![("--smmu", "ssid_bits=21")], "from 0 to 20"),
    ] {
        let guest = options.iter().fold(Guest::new(), |guest, (name, value)| {
            guest.option(name, value)
        });
        let run = guest.run("true");
        assert!(run.errors().contains(wanted), "{options:?}\n{run}");
    }
}

#[test]
fn a_plan_has_the_same_keys_and_nothing_is_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, "[smmu]\nril = false\nssid_bits = 8\n").unwrap();
    let guest = Guest::new().option("--plan", &plan);

    let run = guest
        .clone()
        .run("dmesg | grep -o 'arm-smmu-v3 .*'")
        .success();
    assert_eq!(features(&run) & RANGE_INVALIDATION, 0, "{run}");

    let run = guest.option("--smmu", "ril=true").run("true");
    assert!(run.errors().contains("`ril` is given twice"), "{run}");
}
