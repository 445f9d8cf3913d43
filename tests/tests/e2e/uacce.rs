//! Each attribute of the uacce class, held against its description in Linux
//! (Documentation/ABI/testing/sysfs-driver-uacce).

use stallbox_tests::{Guest, Run};

use super::REVISIONS;

/// In the folder of the class device.
fn in_class(script: &str) -> String {
    format!("cd /sys/class/uacce/hisi_zip-0 || exit 1\n{script}")
}

/// What the description lists, in `ls`'s order.
const DESCRIBED: [&str; 8] = [
    "algorithms",
    "api",
    "available_instances",
    "flags",
    "isolate",
    "isolate_strategy",
    "region_dus_size",
    "region_mmio_size",
];

/// Runs a script in the class folder, on both revisions.
fn on_both(script: &str, check: impl Fn(&str, &Run)) {
    for revision in REVISIONS {
        let run = Guest::new()
            .revision(revision)
            .run(&in_class(script))
            .success();
        check(run.output(), &run);
    }
}

#[test]
fn the_class_has_what_is_described_and_no_more() {
    // Files that the driver core adds to every class device are left out.
    let script = "find . -maxdepth 1 -type f | sed 's,^./,,' | grep -vE '^(dev|uevent)$' | sort";
    on_both(script, |output, run| {
        assert_eq!(output.lines().collect::<Vec<_>>(), DESCRIBED, "{run}");
    });
}

#[test]
fn only_the_isolation_strategy_may_be_written() {
    let script = "for name in *; do [ -f $name ] && stat -c '%n %a' $name; done | grep -v uevent";
    on_both(script, |output, run| {
        for line in output.lines().filter(|line| !line.starts_with("dev ")) {
            let (name, mode) = line.split_once(' ').unwrap();
            let expected = if name == "isolate_strategy" {
                "644"
            } else {
                "444"
            };
            assert_eq!(mode, expected, "{name}\n{run}");
        }
    });
}

#[test]
fn the_isolation_strategy_is_a_number_up_to_65535() {
    let script = "cat isolate_strategy
        for value in 1 65535 0x10 65536 -1 many; do
            if echo $value 2> /dev/null > isolate_strategy; then echo $value taken; fi
            echo $(cat isolate_strategy)
        done";
    on_both(script, |output, run| {
        // The default is 0: never isolate. What is refused changes nothing.
        let expected = [
            "0",
            "1 taken",
            "1",
            "65535 taken",
            "65535",
            "0x10 taken",
            "16",
            "16",
            "16",
            "16",
        ];
        assert_eq!(output.lines().collect::<Vec<_>>(), expected, "{run}");
    });
}

#[test]
fn a_sound_device_is_not_isolated() {
    on_both("cat isolate", |output, run| {
        assert_eq!(output, "0\n", "{run}");
    });
}

#[test]
fn flags_are_those_of_uacce_h() {
    // include/uapi/misc/uacce/uacce.h: UACCE_DEV_SVA is BIT(0), and there is no other.
    on_both("cat flags", |output, run| {
        assert_eq!(output, "1\n", "{run}")
    });
}

#[test]
fn regions_can_be_mapped_at_the_sizes_they_are_said_to_have() {
    // zipsva maps both regions at these sizes, and works.
    let script = "cat region_mmio_size region_dus_size
        zipsva compress --in /stallbox/command --out /tmp/out > /dev/null";
    on_both(script, |output, run| {
        for size in output.lines() {
            let size: u64 = size.parse().unwrap();
            assert!(size > 0 && size.is_multiple_of(4096), "{size}\n{run}");
        }
        assert_eq!(output.lines().count(), 2, "{run}");
    });
}

#[test]
fn every_open_file_takes_an_instance_until_none_is_left() {
    let script = "free() { cat available_instances; }
        before=$(free); echo $(( before > 4 ))
        exec 3<>/dev/hisi_zip-0 4<>/dev/hisi_zip-0; echo $(( before - $(free) ))
        exec 3>&-; echo $(( before - $(free) ))
        exec 4>&-; echo $(( before - $(free) ))
        i=0; while [ $i -lt $before ]; do sleep 1000 <> /dev/hisi_zip-0 & i=$((i + 1)); done
        usleep 100000; echo $(free)
        (: < /dev/hisi_zip-0) 2>&1 | sed 's/.*: //'
        kill $(jobs -p); usleep 100000; echo $(( before - $(free) ))";
    on_both(script, |output, run| {
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[..5], ["1", "2", "1", "0", "0"], "{run}");
        // The one that comes too late is refused (qm.c, hisi_qm_uacce_get_queue).
        assert_eq!(lines[5], "Device or resource busy", "{run}");
        assert_eq!(lines[6], "0", "{run}");
    });
}

#[test]
fn api_and_algorithms_are_text_for_libraries() {
    on_both("cat api; echo --; cat algorithms", |output, run| {
        let (api, algorithms) = output.split_once("--\n").unwrap();
        // UADK takes what follows "hisi_qm_" as the version (wd.c).
        assert!(["hisi_qm_v2\n", "hisi_qm_v3\n"].contains(&api), "{run}");
        let mut names: Vec<&str> = algorithms.lines().collect();
        names.retain(|name| !["zlib", "gzip", "deflate"].contains(name));
        // Nothing is promised that is not modelled.
        assert!(names.is_empty(), "{names:?}\n{run}");
    });
}
