//! Files go through the accelerator and come out right, both ways; the host is the judge.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use stallbox_tests::{Guest, Run, repository};

use super::REVISIONS;

/// What is compressed: names and contents.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let real = |path| fs::read(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    // It comes back through the console, a character at a time.
    let mut random = vec![0; if cfg!(feature = "kvm") { 7001 } else { 70_001 }];
    Xoshiro256PlusPlus::seed_from_u64(1).fill_bytes(&mut random);
    vec![
        ("source.c", real("guest-images/guest/programs/zipabuse.c")),
        ("licence", real("LICENSE-APACHE")),
        ("random", random),
        ("zeros", vec![0; 300_000]),
        ("page", real("LICENSE-APACHE")[..4096].to_vec()),
        ("one", b"x".to_vec()),
        ("empty", Vec::new()),
    ]
}

fn pack(algorithm: &str, plain: &[u8]) -> Vec<u8> {
    let level = Compression::best();
    let done = match algorithm {
        "zlib" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        _ => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
    };
    done.expect("the host compresses")
}

/// Decompresses, and refuses bytes behind the end.
fn unpack(algorithm: &str, packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let (done, used) = match algorithm {
        "zlib" => {
            let mut decoder = ZlibDecoder::new(packed);
            (decoder.read_to_end(&mut plain), decoder.total_in())
        }
        "gzip" => {
            let mut decoder = GzDecoder::new(packed);
            let done = decoder.read_to_end(&mut plain);
            // Its buffering hides how much it used; `gzip` itself refuses what is left over.
            (done, packed.len() as u64)
        }
        _ => {
            let mut decoder = DeflateDecoder::new(packed);
            (decoder.read_to_end(&mut plain), decoder.total_in())
        }
    };
    done.map_err(|error| error.to_string())?;
    if used != packed.len() as u64 {
        return Err(format!("{used} of {} bytes are the stream", packed.len()));
    }
    Ok(plain)
}

/// The host's own gzip: a judge that shares no line of code with the device.
fn gunzip(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("gzip is a part of every Debian");
    let mut stdin = child.stdin.take().expect("piped");
    let packed = packed.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&packed));
    let output = child.wait_with_output().expect("cannot wait for gzip");
    // A gzip that has given up does not read to the end.
    let _ = writer.join().expect("a writer does not panic");
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// One boot: each sample both ways. What the guest packs is unpacked here, and the reverse.
fn both_ways(revision: &str, algorithm: &str, options: &str) {
    let samples = samples();
    let mut guest = Guest::new().revision(revision);
    let mut script = String::from("set -e; cd /in\n");
    for (name, plain) in &samples {
        guest = guest
            .file(name, plain)
            .file(&format!("{name}.host"), &pack(algorithm, plain));
        script.push_str(&format!(
            "zipsva compress --alg {algorithm} {options} --in {name} --out {name}.guest
             give {name}.guest
             zipsva decompress --alg {algorithm} {options} --in {name}.host --out {name}.back
             cmp {name} {name}.back\n"
        ));
    }
    let run = guest.run(&script).success();
    for (name, plain) in &samples {
        let packed = run.file(&format!("{name}.guest"));
        let unpacked = unpack(algorithm, packed);
        assert!(
            unpacked.as_ref() == Ok(plain),
            "{name}: {:?}\n{run}",
            unpacked.err()
        );
        if algorithm == "gzip" {
            assert!(
                gunzip(packed).as_ref() == Ok(plain),
                "gzip(1) and {name}\n{run}"
            );
        }
    }
    assert_packed(&run);
    assert_eq!(run.summary().job_errors, 0, "{run}");
}

/// It has compressed, and not only wrapped.
#[track_caller]
fn assert_packed(run: &Run) {
    assert!(run.file("licence.guest").len() < 5500, "{run}");
    assert!(run.file("zeros.guest").len() < 3000, "{run}");
}

#[test]
fn zlib_in_one_request_on_0x21() {
    both_ways("0x21", "zlib", "");
}

#[test]
fn zlib_in_one_request_on_0x30() {
    both_ways("0x30", "zlib", "");
}

#[test]
fn zlib_as_a_stream_on_0x21() {
    both_ways("0x21", "zlib", "--stream --block 4096");
}

#[test]
fn zlib_as_a_stream_on_0x30() {
    both_ways("0x30", "zlib", "--stream --block 4096");
}

#[test]
fn gzip_in_one_request_on_0x21() {
    both_ways("0x21", "gzip", "");
}

#[test]
fn gzip_in_one_request_on_0x30() {
    both_ways("0x30", "gzip", "");
}

#[test]
fn gzip_as_a_stream_on_0x21() {
    both_ways("0x21", "gzip", "--stream --block 3000");
}

#[test]
fn gzip_as_a_stream_on_0x30() {
    both_ways("0x30", "gzip", "--stream --block 3000");
}

#[test]
fn deflate_in_one_request_on_0x30() {
    both_ways("0x30", "deflate", "");
}

#[test]
fn deflate_as_a_stream_on_0x30() {
    both_ways("0x30", "deflate", "--stream --block 65536");
}

#[test]
fn deflate_is_refused_on_0x21() {
    let script = "zipsva compress --alg deflate --in /bin/busybox --out /tmp/out";
    let run = Guest::new().revision("0x21").run(script).status(1);
    assert!(run.output().contains("has no raw deflate"), "{run}");
}

#[test]
fn sleeping_for_completions_gives_the_same() {
    for revision in REVISIONS {
        let script = "cd /tmp; for poll in busy epoll; do
                zipsva compress --poll $poll --check --in /bin/busybox --out $poll || exit 1
            done; cmp busy epoll";
        Guest::new().revision(revision).run(script).success();
    }
}

#[test]
fn a_stream_takes_files_larger_than_one_request_can() {
    let script = "cd /tmp; yes 'a line and another' | head -c 9000000 > in
        zipsva compress --in in --out out; echo $?
        zipsva compress --stream --block 1048576 --check --in in --out out";
    let run = Guest::new().run(script).success();
    assert!(run.output().contains("use --stream\n1\n"), "{run}");
}

#[test]
fn damaged_input_is_an_error_and_nothing_else() {
    let mut packed = pack(
        "zlib",
        b"a text that is about to be damaged, damaged, damaged",
    );
    let last = packed.len() - 1;
    packed[last] ^= 1;
    let script = "for options in '' '--stream'; do
            zipsva decompress $options --in /in/damaged --out /tmp/out; echo status $?
        done
        zipsva compress --check --in /bin/busybox --out /tmp/out";
    let run = Guest::new().file("damaged", &packed).run(script).success();
    assert_eq!(run.output().matches("status 1\n").count(), 2, "{run}");
}

/// The least that tells: where a console is slow, the samples take minutes.
#[test]
fn one_small_file_goes_both_ways() {
    let (_, plain) = samples().swap_remove(1);
    let script = "set -e; cd /in; zipsva compress --alg gzip --in plain --out packed; give packed
        zipsva decompress --alg gzip --in host --out back; cmp plain back";
    let run = Guest::new()
        .file("plain", &plain)
        .file("host", &pack("gzip", &plain))
        .run(script)
        .success();
    assert!(gunzip(run.file("packed")).as_ref() == Ok(&plain), "{run}");
}
