//! `--add DIR`: the files of a folder for one run, on top of any image or initramfs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use stallbox_tests::{Guest, image};
use tempfile::TempDir;

use crate::image::compile;

const SCRIPT: &str = "#!/bin/sh\n\
    stat -c '%a %u:%g %Y %n' /bin/hello /etc/secret /etc/deep\n\
    readlink /etc/link\n\
    cat /etc/passwd\n\
    dynamic\n";

/// A script, a dynamic program, files with modes, a link to nowhere, and a file that the image has.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("bin")).unwrap();
    fs::create_dir_all(path("etc/deep")).unwrap();
    for (name, content, mode) in [
        ("bin/hello", SCRIPT, 0o755),
        ("etc/secret", "x\n", 0o600),
        ("etc/passwd", "ours\n", 0o644),
    ] {
        fs::write(path(name), content).unwrap();
        mode_of(&path(name), mode);
    }
    for name in ["bin", "etc"] {
        mode_of(&path(name), 0o755);
    }
    mode_of(&path("etc/deep"), 0o750);
    symlink("../../nowhere", path("etc/link")).unwrap();
    let source = "#include <stdio.h>\nint main(void) { puts(\"dynamic\"); return 0; }\n";
    compile(&path("bin/dynamic"), &[], source);
    folder
}

fn mode_of(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

const SAID: &str = "755 0:0 0 /bin/hello\n\
    600 0:0 0 /etc/secret\n\
    750 0:0 0 /etc/deep\n\
    ../../nowhere\n\
    ours\n\
    dynamic\n";

#[test]
fn a_folder_is_in_the_guest_with_its_modes_and_links() {
    let folder = folder();
    let run = Guest::new().option("--add", folder.path()).run("hello");
    assert_eq!(run.success().output(), SAID);
}

/// The same files are the same run, whoever has them and since when.
#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats a run")]
fn owner_and_times_on_the_host_do_not_change_the_run() {
    let hash = |aged: bool| {
        let folder = folder();
        if aged {
            for name in ["bin/hello", "bin", "etc/secret", "etc/deep", "etc"] {
                let path = folder.path().join(name);
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
                fs::File::open(&path).unwrap().set_modified(time).unwrap();
                // Only root gives files away; who is not root sees the times only.
                let _ = chown(&path, Some(1234), Some(1234));
            }
        }
        let run = Guest::new().option("--add", folder.path()).run("hello");
        run.success().summary().trace_hash
    };
    assert_eq!(hash(false), hash(true));
}

#[test]
fn it_goes_on_top_of_a_compressed_initramfs_and_of_another_folder() {
    let (first, second) = (folder(), tempfile::tempdir().unwrap());
    fs::create_dir(second.path().join("etc")).unwrap();
    fs::write(second.path().join("etc/passwd"), "theirs\n").unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed
        .write_all(&fs::read(&image().initrd).unwrap())
        .unwrap();
    let initrd = second.path().join("own.cpio.gz");
    fs::write(&initrd, packed.finish().unwrap()).unwrap();
    let run = Guest::new()
        .option("--initrd", &initrd)
        .option("--add", first.path())
        .option("--add", second.path())
        .run("cat /etc/secret /etc/passwd; ls /own.cpio.gz")
        .success();
    assert_eq!(run.output(), "x\ntheirs\n/own.cpio.gz\n");
}

#[test]
fn what_a_guest_cannot_be_given_is_refused_by_name() {
    let refused = |folder: &Path| {
        let run = Guest::new().option("--add", folder).run("true").status(125);
        run.errors().to_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    let errors = refused(&folder.path().join("nothing"));
    assert!(errors.contains("--add: cannot list"), "{errors}");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let errors = refused(folder.path());
    assert!(errors.contains("pipe: it is a named pipe"), "{errors}");
}

/// As much as is not refused can be unpacked, with little memory and with more.
#[test]
fn files_are_bounded_by_what_the_guest_can_unpack() {
    for memory in ["64M", "256M"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let set = |mib: u64| fs::File::create(&path).unwrap().set_len(mib << 20).unwrap();
        let guest = Guest::new()
            .option("--memory", memory)
            .option("--add", folder.path());
        set(3 << 10);
        let run = guest.run("true").status(125);
        let (_, bound) = run.errors().split_once("have more than ").expect("a bound");
        let bound: u64 = bound.split_once(" MiB").unwrap().0.parse().unwrap();
        assert!(bound > 2, "{memory}: {bound}");
        set(bound - 1);
        let run = guest
            .clone()
            .timeout_seconds(60)
            .run("stat -c %s /large")
            .success();
        assert_eq!(run.output(), format!("{}\n", (bound - 1) << 20), "{memory}");
    }
}
