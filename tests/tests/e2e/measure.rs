//! `stallbox measure`: each cell says what the kernel really did.

use stallbox_tests::measure;

/// Small, and without the pin interfaces.
const ROWS: &str = "none,touched,mlock,mlockall_onfault,hugetlb";

#[test]
#[cfg_attr(feature = "kvm", ignore = "measures with the soft engine only")]
fn what_is_not_there_faults_once_and_what_is_there_does_not() {
    let measured = measure(&["--quick", "--rows", ROWS, "--columns", "none"]).status(0);
    // Two pages in each of the 2 x 16 slots of --quick.
    for row in ["none", "mlockall_onfault"] {
        assert_eq!(measured.faults(row, "none"), 64, "{measured}");
    }
    for row in ["touched", "mlock", "hugetlb"] {
        assert_eq!(measured.faults(row, "none"), 0, "{measured}");
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "measures with the soft engine only")]
fn device_smmu_and_kernel_count_the_same_faults() {
    let measured = measure(&["--quick", "--rows", ROWS, "--columns", "swap,migrate"]).status(0);
    for row in ROWS.split(',') {
        for column in ["swap", "migrate"] {
            let faults = measured.faults(row, column);
            for place in ["/faults/smmu", "/faults/guest"] {
                assert_eq!(
                    measured.number(row, column, place),
                    faults,
                    "{row}, {column}\n{measured}"
                );
            }
        }
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "measures with the soft engine only")]
fn locked_memory_is_not_swapped_and_yet_moved() {
    let measured = measure(&[
        "--quick",
        "--rows",
        "touched,mlock",
        "--columns",
        "swap,migrate",
    ])
    .status(0);
    assert!(measured.faults("touched", "swap") > 0, "{measured}");
    assert_eq!(measured.faults("mlock", "swap"), 0, "{measured}");
    assert_eq!(measured.number("mlock", "swap", "/steps/0/memory/gone"), 0);
    assert_eq!(
        measured.cell("mlock", "swap")["steps"][0]["refused"],
        "EINVAL"
    );
    // All of a region's used pages, and the device met some on their way.
    assert_eq!(
        measured.number("mlock", "migrate", "/steps/0/memory/moved"),
        32,
        "{measured}"
    );
    assert!(measured.faults("mlock", "migrate") > 0, "{measured}");
}

#[test]
fn names_that_do_not_exist_are_refused() {
    for (option, name) in [("--rows", "nonsense"), ("--columns", "nonsense")] {
        let measured = measure(&[option, name]).status(125);
        let errors = measured.errors();
        assert!(
            errors.contains(option) && errors.contains("\"nonsense\""),
            "{errors}"
        );
    }
}
