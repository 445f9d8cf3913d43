//! What the kernel reports of its own faults makes a run fail: `--fail-on`.

use std::fs;

use stallbox_tests::{Guest, Run};

use super::image::{Named, succeed};

// A test's script is run with a console that shows emergencies only; `dmesg -n 8` shows all again.

/// Does what its parameter says, and comes back if it can.
const MODULE: &str = r#"// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
static char *how = "";
module_param(how, charp, 0);
static int __init broken(void)
{
	if (!strcmp(how, "warn"))
		WARN(1, "as asked for\n");
	if (!strcmp(how, "bug"))
		BUG();
	if (!strcmp(how, "oops"))
		*(volatile int *)8 = 0;
	return 0;
}
module_init(broken);
MODULE_DESCRIPTION("broken");
MODULE_LICENSE("GPL");
"#;

#[track_caller]
fn counted(run: &Run, kind: &str) -> u64 {
    let summary = run.summary();
    let counts = summary.kernel_reports["counts"].as_object().unwrap();
    assert!(counts.len() <= 1, "{counts:?}\n{run}");
    counts.get(kind).map_or(0, |count| count.as_u64().unwrap())
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "builds an image, which is no engine's part")]
fn a_kernel_that_reports_a_fault_fails_the_run() {
    let named = Named::new("e2e-broken");
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("broken");
    fs::create_dir(&module).unwrap();
    fs::write(module.join("Kbuild"), "obj-m += broken.o\n").unwrap();
    fs::write(module.join("broken.c"), MODULE).unwrap();
    succeed(&["build", named.0, "--module", module.to_str().unwrap()]);

    let guest = Guest::new().option("--image", named.0);
    for (how, kind, words) in [
        ("warn", "warn", "broken"),
        ("bug", "bug", "kernel BUG at "),
        (
            "oops",
            "oops",
            "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
        ),
    ] {
        // An oops kills insmod, and nobody else.
        let script =
            format!("dmesg -n 8; insmod /lib/modules/broken.ko how={how}; echo gone on; exit 0");
        let run = guest.clone().traced().run(&script).status(120);
        assert!(run.output().contains("gone on\n"), "{run}");
        assert_eq!(counted(&run, kind), 1, "{how}\n{run}");
        let errors = run.errors();
        assert!(errors.contains("the guest's kernel reported 1 "), "{run}");
        assert!(errors.contains(words), "{words}\n{run}");
        let summary = run.summary();
        let report = &summary.kernel_reports["shown"][0];
        assert_eq!(report["kind"], kind, "{run}");
        assert!(
            report["lines"].as_array().unwrap().len() > 5,
            "{report}\n{run}"
        );
        let trace = run.trace();
        let events: Vec<_> = trace
            .iter()
            .filter(|record| record.event == "kernel_report")
            .collect();
        assert_eq!(events.len(), 1, "{run}");
        assert_eq!(events[0].text("kind"), Some(kind), "{run}");
        // Not that, and so nothing.
        let fine = guest.clone().option("--fail-on", format!("all,-{kind}"));
        let run = fine.run(&script).success();
        assert!(run.errors().contains("--fail-on leaves them out"), "{run}");
    }
    // A command that fails keeps its status.
    guest
        .run("dmesg -n 8; insmod /lib/modules/broken.ko how=warn; exit 3")
        .status(3);
}

#[test]
fn a_panic_is_a_panic_and_named_in_the_summary() {
    let run = Guest::new().run("echo c > /proc/sysrq-trigger").status(121);
    assert_eq!(counted(&run, "panic"), 1, "{run}");
}

#[test]
#[cfg_attr(
    feature = "kvm",
    ignore = "its guests boot quietly, without a line that has a time"
)]
fn a_program_s_words_on_the_terminal_are_not_the_kernel_s() {
    let words = "BUG: KASAN: use-after-free in a story";
    let run = Guest::new().run(&format!("echo '{words}'")).success();
    assert_eq!(counted(&run, "kasan"), 0, "{run}");
    // What is written to the kernel's log is the kernel's, for all that can be seen.
    let script = format!("echo '{words}' > /dev/kmsg; dmesg | tail -n 1");
    let run = Guest::new().run(&script).status(120);
    assert_eq!(counted(&run, "kasan"), 1, "{run}");
}
