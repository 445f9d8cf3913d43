//! Each of the stock drivers finds its hardware, and what it says of it is right.

use std::collections::BTreeMap;

use stallbox_tests::{Guest, Run};

use super::REVISIONS;

/// Where the accelerator is: device 1 on the root bus.
const ACCELERATOR: &str = "/sys/bus/pci/devices/0000:00:01.0";

/// `NAME=value` lines, spaces instead of line ends in values.
fn attributes(run: &Run) -> BTreeMap<&str, &str> {
    run.output()
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect()
}

/// The attributes of `/sys/class/uacce/hisi_zip-0`, and how many queues are free while one is open.
const UACCE: &str = "cd /sys/class/uacce/hisi_zip-0 || exit 1
    for name in api algorithms flags available_instances region_mmio_size region_dus_size \
                isolate device/numa_node; do
        echo \"$name=\"$(cat $name)
    done
    exec 3<>/dev/hisi_zip-0
    echo while_open=$(cat available_instances)
    exec 3>&-
    echo after=$(cat available_instances)";

#[test]
fn uacce_offers_revision_0x21() {
    let run = Guest::new().revision("0x21").run(UACCE).success();
    let found = attributes(&run);
    assert_eq!(found["api"], "hisi_qm_v2", "{run}");
    assert_eq!(found["algorithms"], "zlib gzip", "{run}");
    // Doorbells and mailbox for all queues: 0x0 to 0x1fff of BAR2.
    assert_eq!(found["region_mmio_size"], "8192", "{run}");
    assert_common(&found, &run);
}

#[test]
fn uacce_offers_revision_0x30() {
    let run = Guest::new().revision("0x30").run(UACCE).success();
    let found = attributes(&run);
    assert_eq!(found["api"], "hisi_qm_v3", "{run}");
    assert_eq!(found["algorithms"], "zlib gzip deflate", "{run}");
    // A doorbell window of its own for each queue.
    assert_eq!(found["region_mmio_size"], "65536", "{run}");
    assert_common(&found, &run);
}

#[track_caller]
fn assert_common(found: &BTreeMap<&str, &str>, run: &Run) {
    // SVA.
    assert_eq!(found["flags"], "1", "{run}");
    assert_eq!(found["isolate"], "0", "{run}");
    // SQ of 128 KiB, CQ of 16 KiB, a page with the status words.
    assert_eq!(found["region_dus_size"], (37 * 4096).to_string(), "{run}");
    // UADK skips a device without this file; -1 is a value.
    assert!(found["device/numa_node"].parse::<i32>().is_ok(), "{run}");
    // pf_q_num is 64 by default.
    let free: u32 = found["available_instances"].parse().unwrap();
    assert_eq!(free, 64, "{run}");
    assert_eq!(found["while_open"], "63", "{run}");
    assert_eq!(found["after"], "64", "{run}");
}

#[test]
fn the_accelerator_has_a_group_and_passes_through_the_smmu() {
    let script = "dmesg | grep -E 'arm-smmu-v3|iommu group'; \
                  basename $(readlink /sys/bus/pci/devices/0000:00:01.0/iommu_group); \
                  ls /sys/bus/pci/devices/0000:00:01.0/iommu_group/devices";
    for revision in REVISIONS {
        let run = Guest::new().revision(revision).run(script).success();
        let said = |text| assert!(run.output().contains(text), "no \"{text}\"\n{run}");
        said("oas 48-bit");
        said("Adding to iommu group 0");
        // Alone: a PASID is attached to every device of the group.
        assert!(run.output().ends_with("0\n0000:00:01.0\n"), "{run}");
    }
}

/// The line of `/proc/interrupts` whose name contains `name`.
#[track_caller]
fn interrupt<'a>(run: &'a Run, name: &str) -> &'a str {
    let found = run.output().lines().find(|line| line.contains(name));
    found.unwrap_or_else(|| panic!("no interrupt {name}\n{run}"))
}

const INTERRUPTS: &str = "head -c 5000 /bin/busybox > /tmp/in
    zipsva compress --poll epoll --in /tmp/in --out /tmp/out > /dev/null || exit 1
    cat /proc/interrupts";

#[test]
fn wired_interrupts_of_the_smmu_arrive() {
    let run = Guest::new().run(INTERRUPTS).success();
    let line = interrupt(&run, "arm-smmu-v3-evtq");
    assert!(
        line.contains("GICv3") && line.contains("Edge"),
        "{line}\n{run}"
    );
    assert!(count(line) > 0, "{line}\n{run}");
    interrupt(&run, "arm-smmu-v3-gerror");
}

#[test]
fn messages_of_the_smmu_arrive_through_the_its() {
    let run = Guest::new()
        .option("--smmu-irq", "msi")
        .run(INTERRUPTS)
        .success();
    let line = interrupt(&run, "arm-smmu-v3-evtq");
    assert!(line.contains("ITS"), "{line}\n{run}");
    assert!(count(line) > 0, "{line}\n{run}");
}

#[test]
fn messages_of_the_accelerator_arrive_through_the_its() {
    for revision in REVISIONS {
        let run = Guest::new().revision(revision).run(INTERRUPTS).success();
        let lines: Vec<&str> = run
            .output()
            .lines()
            .filter(|line| line.contains("hisi_zip"))
            .collect();
        assert!(
            lines.len() >= 3 && lines.iter().all(|line| line.contains("ITS")),
            "{run}"
        );
        // One of them told of the completion.
        assert!(lines.iter().any(|line| count(line) > 0), "{run}");
    }
}

/// Interrupts taken, on a machine of one CPU.
fn count(line: &str) -> u64 {
    line.split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

/// A function's configuration space.
struct Config(Vec<u8>);

impl Config {
    fn of(guest: &Guest) -> (Config, Run) {
        let run = guest.run(&format!("cd {ACCELERATOR} && give config && ls -l driver"));
        let run = run.success();
        (Config(run.file("config").to_owned()), run)
    }

    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn word(&self, at: usize) -> u32 {
        u32::from(self.half(at)) | u32::from(self.half(at + 2)) << 16
    }

    /// Offset of a capability (PCI Local Bus 3.0, *Capabilities List*).
    fn capability(&self, id: u8) -> Option<usize> {
        let mut at = usize::from(self.0[0x34] & !3);
        for _ in 0..48 {
            match at {
                0 => return None,
                at if self.0[at] == id => return Some(at),
                _ => at = usize::from(self.0[at + 1] & !3),
            }
        }
        panic!("the list of capabilities has a loop")
    }

    /// Offset of an extended capability (PCI Express Base, *Extended Capabilities*).
    fn extended(&self, id: u16) -> Option<usize> {
        let mut at = 0x100;
        for _ in 0..960 {
            match self.word(at) {
                0 => return None,
                header if header as u16 == id => return Some(at),
                header => at = (header >> 20) as usize & !3,
            }
            if at == 0 {
                return None;
            }
        }
        panic!("the list of extended capabilities has a loop")
    }
}

#[test]
fn configuration_space_is_what_the_drivers_ask_for() {
    for (revision, id) in [("0x21", 0x21), ("0x30", 0x30)] {
        let (config, run) = Config::of(&Guest::new().revision(revision));
        assert!(run.output().contains("hisi_zip"), "another driver\n{run}");
        assert_eq!(
            config.0.len(),
            4096,
            "no extended configuration space\n{run}"
        );
        assert_eq!((config.half(0), config.half(2)), (0x19e5, 0xa250), "{run}");
        assert_eq!(config.0[8], id, "{run}");
        // Header type 0, one function: without ACS, several would have no PASID.
        assert_eq!(config.0[0x0e], 0, "{run}");
        // Memory and bus master are on.
        assert_eq!(config.half(4) & 6, 6, "{run}");
        // BAR2: 64-bit memory, and placed.
        assert_eq!(config.word(0x18) & 7, 4, "{run}");
        assert!(
            config.word(0x18) & !0xf != 0 || config.word(0x1c) != 0,
            "{run}"
        );
        // BAR4, the doorbell windows, is there on 0x30 only.
        assert_eq!(config.word(0x20) & 7 == 4, id == 0x30, "{run}");
    }
}

#[test]
fn msi_has_four_messages_and_pasid_is_on() {
    for revision in REVISIONS {
        let (config, run) = Config::of(&Guest::new().revision(revision));
        let msi = config.capability(0x05).expect("no MSI");
        let control = config.half(msi + 2);
        assert_eq!(control & 1, 1, "MSI is off\n{run}");
        assert!(control >> 1 & 7 >= 2, "fewer than four messages\n{run}");
        assert_eq!(
            control & 0x180,
            0x180,
            "not 64-bit with a mask for each message\n{run}"
        );
        let express = config.capability(0x10).expect("no PCI Express capability");
        // Root Complex Integrated Endpoint.
        assert_eq!(config.half(express + 2) >> 4 & 0xf, 9, "{run}");
        let pasid = config.extended(0x1b).expect("no PASID capability");
        assert!(
            config.half(pasid + 4) >> 8 & 0x1f <= 16,
            "wider than the queues' field\n{run}"
        );
        assert_eq!(config.half(pasid + 6) & 1, 1, "PASID is off\n{run}");
    }
}

#[test]
fn the_kernel_compresses_with_it_on_0x30_only() {
    let script = "grep -A2 hisi-deflate-acomp /proc/crypto | grep -c driver; exit 0";
    for (revision, count) in [("0x21", "0\n"), ("0x30", "1\n")] {
        let run = Guest::new().revision(revision).run(script).success();
        assert_eq!(run.output(), count, "{revision}\n{run}");
    }
}

#[test]
fn without_an_accelerator_there_is_none() {
    let script = "ls /sys/bus/pci/devices | grep -c 00:01.0; ls /dev/hisi_zip-0";
    let run = Guest::new().option("--accel", "none").run(script);
    assert!(run.output().starts_with("0\n"), "{run}");
    let run = run.status(1);
    assert!(run.output().contains("No such file"), "{run}");
}
