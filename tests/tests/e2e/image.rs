//! `stallbox image`: images of one's own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use stallbox_tests::{Guest, stallbox};

fn image(words: &[&str]) -> Output {
    Command::new(stallbox())
        .arg("image")
        .args(words)
        .output()
        .expect("cannot start stallbox")
}

#[track_caller]
pub(crate) fn succeed(words: &[&str]) -> String {
    let output = image(words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error of a command that fails.
#[track_caller]
fn fail(words: &[&str]) -> String {
    let output = image(words);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{words:?}: {errors}");
    errors
}

/// An image in the user's own cache, which is gone in the end.
pub(crate) struct Named(pub &'static str);

impl Named {
    /// What a run that was killed left of it is no part of this one.
    pub(crate) fn new(name: &'static str) -> Named {
        image(&["clean", name]);
        Named(name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        image(&["clean", self.0]);
    }
}

pub(crate) fn compile(to: &Path, flags: &[&str], source: &str) {
    let file = to.with_extension("c");
    fs::write(&file, source).unwrap();
    let done = Command::new("aarch64-linux-gnu-gcc")
        .args(flags)
        .arg("-o")
        .arg(to)
        .arg(&file)
        .status()
        .expect("cannot start the cross compiler");
    assert!(done.success());
    fs::remove_file(file).unwrap();
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "builds images, which is no engine's part")]
fn programs_of_ones_own_run_in_the_guest_static_and_dynamic() {
    let named = Named::new("e2e-added");
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("opt");
    fs::create_dir(&programs).unwrap();
    let source = "#include <stdio.h>\nint main(int n, char **words) { printf(\"%s %d\\n\", words[0], n); }\n";
    compile(&programs.join("static"), &["-static"], source);
    compile(&programs.join("dynamic"), &[], source);
    std::os::unix::fs::symlink("static", programs.join("link")).unwrap();
    let path = folder.path().to_str().unwrap();
    succeed(&["add", path, "--image", named.0]);

    let guest = Guest::new().option("--image", named.0);
    let run = guest
        .run("/opt/static 1 2 3; /opt/dynamic; readlink /opt/link")
        .success();
    assert_eq!(
        run.output(),
        "/opt/static 4\n/opt/dynamic 1\nstatic\n",
        "{run}"
    );

    // A change is taken over when the image is built again.
    fs::write(programs.join("text"), "later\n").unwrap();
    succeed(&["build", named.0]);
    let run = guest.run("cat /opt/text").success();
    assert_eq!(run.output(), "later\n", "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "builds images, which is no engine's part")]
fn a_module_of_ones_own_is_built_and_its_errors_are_the_compilers() {
    let named = Named::new("e2e-module");
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("hello");
    fs::create_dir(&module).unwrap();
    fs::write(module.join("Kbuild"), "obj-m += hello.o\n").unwrap();
    let source = "// SPDX-License-Identifier: GPL-2.0\n#include <linux/module.h>\n\
                  static int __init hello(void) { pr_info(\"hello, %d\\n\", WORD); return 0; }\n\
                  module_init(hello);\nMODULE_DESCRIPTION(\"hello\");\nMODULE_LICENSE(\"GPL\");\n";
    fs::write(module.join("hello.c"), source).unwrap();
    let path = module.to_str().unwrap();
    let errors = fail(&["build", named.0, "--module", path]);
    assert!(
        errors.contains("error: ‘WORD’ undeclared") || errors.contains("error: 'WORD' undeclared"),
        "{errors}"
    );
    assert!(errors.contains("hello.c:3:"), "{errors}");

    fs::write(module.join("hello.c"), source.replace("WORD", "42")).unwrap();
    succeed(&["build", named.0]);
    let left: Vec<_> = fs::read_dir(&module).unwrap().collect();
    assert_eq!(left.len(), 2, "the user's folder was written to: {left:?}");
    let run = Guest::new()
        .option("--image", named.0)
        .run("insmod /lib/modules/hello.ko && dmesg | grep -c 'hello, 42'")
        .success();
    assert_eq!(run.output(), "1\n", "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "builds images, which is no engine's part")]
fn images_are_listed_with_what_they_are_made_of() {
    let listed = succeed(&["list"]);
    for (name, about) in [("stock ", "unmodified"), ("pin ", "mempinfd")] {
        let line = listed.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.contains(about)), "{listed}");
    }
    assert!(succeed(&["path"]).contains("release    6.12."));
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "builds images, which is no engine's part")]
fn an_image_whose_source_is_gone_can_be_cleaned_and_hinders_no_other() {
    let gone = Named::new("e2e-gone");
    let other = Named::new("e2e-other");
    for named in [&gone, &other] {
        let module = tempfile::tempdir().unwrap();
        fs::write(module.path().join("Kbuild"), "obj-m += no-such.o\n").unwrap();
        let path = module.path().to_str().unwrap();
        fail(&["build", named.0, "--module", path]);
    }
    for named in [&other, &gone] {
        succeed(&["clean", named.0]);
        let listed = succeed(&["list"]);
        assert!(!listed.contains(named.0), "{listed}");
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "builds images, which is no engine's part")]
fn wrong_use_is_refused_with_the_cure() {
    let nothing = tempfile::tempdir().unwrap();
    let path = nothing.path().to_str().unwrap();
    for (words, parts) in [
        (
            &["path", "no-such"][..],
            &["no image no-such", "image list"][..],
        ),
        (
            &["build", "stock", "--module", path],
            &["\"stock\" is no name"],
        ),
        (&["build", "e2e-x", "--module", path], &["Kbuild"]),
        (
            &["build", "e2e-x", "--kernel-source", path],
            &["no Linux source"],
        ),
        (&["build", "--module", path], &["give the image a name"]),
        (&["clean", "no-such"], &["no image no-such"]),
        (&["add", "/no/such/folder"], &["/no/such/folder"]),
    ] {
        let errors = fail(words);
        for part in parts {
            assert!(errors.contains(part), "{words:?}: {errors}");
        }
    }
    image(&["clean", "e2e-x"]);
}
