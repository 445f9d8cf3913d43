use std::path::Path;

use proptest::prelude::*;

use super::*;

const RAM: Range<u64> = 0x4000_0000..0x6000_0000;

/// The first 64 bytes of a Linux 6.12 Image that was built for arm64, 8.4 MiB in memory.
fn image(text_offset: u64, image_size: u64, flags: u64) -> Vec<u8> {
    let mut file = vec![0; 4096];
    // `ccmp x18, #0, #0xd, pl`, whose bytes read "MZ@\xfa", and a branch.
    file[0..8].copy_from_slice(&[0x4d, 0x5a, 0x40, 0xfa, 0xff, 0xff, 0x1f, 0x14]);
    file[8..16].copy_from_slice(&text_offset.to_le_bytes());
    file[16..24].copy_from_slice(&image_size.to_le_bytes());
    file[24..32].copy_from_slice(&flags.to_le_bytes());
    file[0x38..0x3c].copy_from_slice(&0x644d_5241u32.to_le_bytes());
    file
}

fn parse(file: &[u8]) -> Result<Kernel, BootError> {
    Kernel::parse(Path::new("/boot/K"), file)
}

fn message(file: &[u8]) -> String {
    parse(file).unwrap_err().to_string()
}

#[test]
fn files_follow_each_other_from_the_start_of_ram() {
    let kernel = parse(&image(0, 0x87_0000, 0xa)).unwrap();
    let initrd = Path::new("/boot/I");
    let plan = Plan::new(RAM, &kernel, Some((initrd, 0x12_3456))).unwrap();
    assert_eq!(plan.kernel, 0x4000_0000);
    assert_eq!(plan.dtb, 0x40a0_0000);
    assert_eq!(plan.initrd, Some(0x40c0_0000..0x40d2_3456));
    let entry = plan.entry();
    assert_eq!((entry.pc, entry.x), (0x4000_0000, [0x40a0_0000, 0, 0, 0]));
    // PSR_D_BIT | PSR_A_BIT | PSR_I_BIT | PSR_F_BIT | PSR_MODE_EL1h
    assert_eq!(entry.pstate, 0x3c5);
    assert_eq!(Plan::new(RAM, &kernel, None).unwrap().initrd, None);
}

#[test]
fn the_text_offset_is_kept_and_old_kernels_have_a_fixed_one() {
    let kernel = parse(&image(0x1_0000, 0x10_0000, 0)).unwrap();
    assert_eq!(Plan::new(RAM, &kernel, None).unwrap().kernel, 0x4001_0000);
    let old = parse(&image(0, 0, 0)).unwrap();
    assert_eq!((old.text_offset, old.memory_bytes), (0x8_0000, 4096));
}

#[test]
fn what_is_no_image_is_named_with_its_cure() {
    assert_eq!(
        message(&[0x1f, 0x8b, 0x08, 0]),
        "/boot/K: not an arm64 kernel Image: it is compressed with gzip; unpack it with \
         `zcat /boot/K > Image`"
    );
    let mut zboot = vec![0; 4096];
    zboot[..8].copy_from_slice(b"MZ\0\0zimg");
    zboot[8..16].copy_from_slice(&[0x00, 0x20, 0, 0, 0x39, 0x30, 0, 0]);
    zboot[24..29].copy_from_slice(b"gzip\0");
    assert!(
        message(&zboot).ends_with("`tail -c +8193 /boot/K | head -c 12345 | zcat > Image`"),
        "{}",
        message(&zboot)
    );
    zboot[24] = b'?';
    assert!(message(&zboot).contains("unknown compression"));
    assert!(message(b"\x7fELF").contains("boot/Image"));
    assert!(message(b"").ends_with("the file is empty"));
    assert!(message(b"short").contains("only 5 bytes"));
    assert!(message(&[0; 64]).contains("offset 56"));
    let mut x86 = vec![0; 1024];
    x86[0x202..0x206].copy_from_slice(b"HdrS");
    assert!(message(&x86).contains("x86"));
    assert!(message(&[0x28, 0xb5, 0x2f, 0xfd]).contains("`zstd -dc < /boot/K > Image`"));
}

#[test]
fn a_big_endian_kernel_and_a_damaged_header_are_refused() {
    assert!(message(&image(0, 0x10_0000, 1)).contains("CONFIG_CPU_BIG_ENDIAN"));
    assert!(message(&image(0, u64::MAX, 0)).contains("image_size 0xffffffffffffffff"));
}

/// Linux 4.14, `arch/arm64/kernel/head.S`: "TEXT_OFFSET must be at least 4KB aligned", "TEXT_OFFSET must be
/// less than 2MB".
#[test]
fn a_text_offset_that_no_kernel_is_built_with_is_refused() {
    for bad in [1, 3, 0x8, 0x7_ffff, 0x1f_f001, 0x20_0000, 1 << 40, u64::MAX] {
        let message = message(&image(bad, 0x10_0000, 0));
        assert!(
            message.contains(&format!("text_offset is {bad:#x}")),
            "{message}"
        );
    }
    for good in [0, 0x1000, 0x8_0000, 0x1f_f000] {
        assert_eq!(parse(&image(good, 0x10_0000, 0)).unwrap().text_offset, good);
    }
}

#[test]
fn too_little_memory_says_how_much_would_do() {
    let kernel = parse(&image(0, 30 << 20, 0)).unwrap();
    let ram = RAM.start..RAM.start + (32 << 20);
    let error = Plan::new(ram, &kernel, Some((Path::new("/boot/I"), 5 << 20))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "guest memory of 32 MiB is too small for /boot/K (30 MiB in memory) and /boot/I (5 MiB): \
         give the guest 101 MiB or more"
    );
}

#[test]
fn an_initrd_beyond_the_window_is_refused() {
    let kernel = parse(&image(0, 1 << 20, 0)).unwrap();
    let ram = RAM.start..RAM.start + (64 << 30);
    for bytes in [32 << 30, u64::MAX] {
        let error = Plan::new(ram.clone(), &kernel, Some((Path::new("/boot/I"), bytes)));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("/boot/I: an initrd of")
        );
    }
    assert!(Plan::new(ram, &kernel, Some((Path::new("/boot/I"), 31 << 30))).is_ok());
}

proptest! {
    #[test]
    fn no_file_panics_and_what_is_planned_is_in_ram(
        fields in any::<[u64; 3]>(),
        small in any::<bool>(),
        initrd in prop::option::of(any::<u64>()),
        noise in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let _ = parse(&noise);
        let [text_offset, image_size, flags] = if small { fields.map(|f| f % (1 << 30)) } else { fields };
        let Ok(kernel) = parse(&image(text_offset, image_size, flags & !1)) else { return Ok(()) };
        let initrd = initrd.map(|bytes| (Path::new("I"), if small { bytes % (1 << 29) } else { bytes }));
        if let Ok(plan) = Plan::new(RAM, &kernel, initrd) {
            prop_assert!(plan.kernel + kernel.memory_bytes <= plan.dtb);
            prop_assert!(plan.dtb % 8 == 0 && plan.dtb + DTB_BYTES_MAX <= RAM.end);
            if let Some(initrd) = plan.initrd {
                prop_assert!(plan.dtb + DTB_BYTES_MAX <= initrd.start && initrd.end <= RAM.end);
            }
        }
    }
}
