//! What the guest's own programs say of options that make no sense.

use stallbox_tests::Guest;

/// Each with what it must say before its usage.
const WRONG: [(&str, &str); 16] = [
    (
        "zipgone all --rounds x",
        "zipgone: --rounds x: a number from 1 to",
    ),
    (
        "zipgone all --rounds 0",
        "zipgone: --rounds 0: a number from 1 to",
    ),
    (
        "zipabuse storm --queues 65",
        "zipabuse: --queues 65: a number from 1 to 64",
    ),
    (
        "zipabuse storm --depth 10x",
        "zipabuse: --depth 10x: a number from 1 to 1000",
    ),
    (
        "zipabuse storm --depth -1",
        "zipabuse: --depth -1: a number from 1 to 1000",
    ),
    (
        "zipabuse storm --bytes 8M",
        "zipabuse: --bytes 8M: a number of bytes from 1 to 7000000",
    ),
    (
        "zipsva compress --in a --out b --block 255",
        "zipsva: --block 255: a number of bytes from 256",
    ),
    (
        "faultbench --ops 100001",
        "faultbench: --ops 100001: a number from 1 to 100000",
    ),
    (
        "faultbench --ops ''",
        "faultbench: --ops : a number from 1 to 100000",
    ),
    (
        "svatest copy --bytes 65M",
        "svatest: --bytes 65M: a number of bytes from 1 to 67108864",
    ),
    (
        "svatest copy --bytes 1G",
        "svatest: --bytes 1G: a number of bytes from 1 to 67108864",
    ),
    (
        "svatest copy --access 96",
        "svatest: --access: a power of two",
    ),
    (
        "svatest copy --bytes 64M --ops 3",
        "svatest: --ops: all data at most 256M",
    ),
    (
        "svatest copy --rate 99999999999999999999",
        "svatest: --rate 99999999999999999999: a number",
    ),
    (
        "pinbench --regions 1.5",
        "pinbench: --regions 1.5: a number from 1 to",
    ),
    (
        "pintest big --bytes 4097",
        "pintest: --bytes 4097: not a multiple of 4096",
    ),
];

#[test]
fn numbers_that_make_no_sense_are_named_with_their_option() {
    let lines =
        WRONG.map(|(command, _)| format!("{command} 2>&1 | head -n 1; {command} 2>&- ; echo $?\n"));
    let run = Guest::new().run(&lines.concat()).success();
    let mut said = run.output().lines();
    for (command, begin) in WRONG {
        let message = said.next().unwrap_or_default();
        assert!(message.starts_with(begin), "{command}: {message}\n{run}");
        assert_eq!(said.next(), Some("2"), "{command}\n{run}");
    }
}
