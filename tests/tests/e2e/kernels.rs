//! Kernels with other pages, places and versions than the stock one. Each is built, which takes minutes.

use std::fs;

use stallbox_tests::Guest;

use super::image::{Named, succeed};

/// The checkers that a kernel without bugs must not set off.
const CHECK: &str = "tlb,stall,dma,config,pasid";

/// An image of a kernel with these lines in its configuration.
fn build(name: &'static str, options: &[&str], lines: &str) -> Named {
    let named = Named::new(name);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    fs::write(&config, lines).unwrap();
    let more = ["--config", config.to_str().unwrap()];
    succeed(&[&["build", named.0], options, &more].concat());
    named
}

#[test]
#[ignore = "builds a kernel: `cargo test -p stallbox-tests --test e2e -- --ignored kernels`"]
fn pages_of_64_kib_and_addresses_that_are_shuffled_are_checked() {
    let lines = "CONFIG_ARM64_4K_PAGES=n\nCONFIG_ARM64_64K_PAGES=y\nCONFIG_RANDOMIZE_BASE=y\n";
    let named = build("e2e-64k", &["--base", "svabugs"], lines);
    let guest = Guest::new().option("--image", named.0);
    let shuffled = guest.clone().option("--kaslr-seed", "0x123456789abcdef0");

    let script = "dmesg | grep KASLR
        zipsva compress --alg gzip --check --in /init --out /tmp/init.gz > /dev/null || exit 1
        zipgone all";
    for (guest, kaslr) in [
        (&guest, "KASLR disabled due to lack of seed"),
        (&shuffled, "KASLR enabled"),
    ] {
        let run = guest.clone().option("--check", CHECK).run(script).success();
        assert!(run.output().contains(kaslr), "{run}");
        assert_eq!(run.whole_summary()["check_reports"], 0, "{run}");
        // Nor does it say that it can check nothing.
        assert!(!run.errors().contains("check dma"), "{run}");
    }

    // And a kernel that has a bug, with the functions that have it.
    for guest in [guest, shuffled] {
        let run = guest
            .option("--append", "svabugs=no-tlbi")
            .option("--check", "dma")
            .run("zipgone under-unmap")
            .status(123);
        for words in [
            "check dma: DMA to a page that the guest has freed",
            " folios_put_refs+0x",
            " unmap_page_range+0x",
            " __arm64_sys_munmap+0x",
        ] {
            assert!(run.errors().contains(words), "{words}\n{run}");
        }
    }
}
