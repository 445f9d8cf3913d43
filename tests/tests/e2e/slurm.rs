//! A sweep as a job array of Slurm: docs/ci/sweep.slurm, by a cluster of this one host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use stallbox_tests::{image, repository, skipped, slot, stallbox};

/// A cluster, as long as this is there.
struct Cluster {
    folder: PathBuf,
    daemons: Vec<Child>,
}

impl Cluster {
    fn start(folder: &Path) -> Cluster {
        for name in ["state", "spool"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        let key = folder.join("key");
        fs::write(&key, [7; 1024]).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&key, private).unwrap();
        let host = Command::new("hostname")
            .arg("-s")
            .output()
            .expect("hostname");
        let host = String::from_utf8_lossy(&host.stdout).trim().to_owned();
        let at = folder.display();
        // Slurm, slurm.conf(5). Ports that no other cluster of this host is likely to have.
        let config = format!(
            "ClusterName=sweep\nSlurmctldHost={host}(127.0.0.1)\nAuthType=auth/munge\n\
             AuthInfo=socket={at}/munge\nSlurmUser=root\nSlurmctldPort=26817\nSlurmdPort=26818\n\
             StateSaveLocation={at}/state\nSlurmdSpoolDir={at}/spool\nSlurmctldPidFile={at}/ctld.pid\n\
             SlurmdPidFile={at}/d.pid\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nReturnToService=2\nMpiDefault=none\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=1 RealMemory=2048 State=UNKNOWN\n\
             PartitionName=all Nodes=ALL Default=YES State=UP MaxTime=INFINITE\n"
        );
        fs::write(folder.join("slurm.conf"), config).unwrap();
        let mut cluster = Cluster {
            folder: folder.to_owned(),
            daemons: Vec::new(),
        };
        let file = |name: &str| folder.join(name).display().to_string();
        cluster.daemon(
            "munged",
            &[
                "--foreground",
                "--force",
                &format!("--key-file={}", file("key")),
                &format!("--socket={}", file("munge")),
                &format!("--pid-file={}", file("munge.pid")),
                &format!("--log-file={}", file("munge.log")),
                &format!("--seed-file={}", file("seed")),
            ],
        );
        cluster.daemon("slurmctld", &["-D"]);
        cluster.daemon("slurmd", &["-D"]);
        cluster
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command
            .env("SLURM_CONF", self.folder.join("slurm.conf"))
            .stdin(Stdio::null());
        command
    }

    fn daemon(&mut self, name: &str, options: &[&str]) {
        let mut command = self.command(name);
        let started = command
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.daemons
            .push(started.unwrap_or_else(|error| panic!("{name}: {error}")));
    }

    /// Waits until its host takes jobs.
    fn ready(&self) {
        for _ in 0..300 {
            let told = self
                .command("sinfo")
                .args(["--noheader", "--format=%T"])
                .output();
            if told.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).trim() == "idle") {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("the cluster takes no jobs after half a minute");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

#[test]
#[ignore = "needs root, and Debian's slurm-wlm and munge"]
fn a_job_array_does_what_one_machine_does() {
    let there = |name: &str| Path::new("/usr/sbin").join(name).exists();
    if !["munged", "slurmctld", "slurmd"].into_iter().all(there) {
        return skipped("Slurm is not installed (Debian: slurm-wlm, munge)");
    }
    let _ = image();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cluster = Cluster::start(folder);
    cluster.ready();
    let _slot = slot();
    let results = folder.join("results");
    let runs = [
        "--seeds",
        "0..7",
        "--latency",
        "walk_step=uniform:10,90",
        "--",
        "zipsva compress --in /init --out /tmp/x; exit 3",
    ];
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", stallbox().parent().unwrap().display());
    let done = cluster
        .command("sbatch")
        .args(["--wait", "--array=1-3", "--output=/dev/null"])
        .arg(repository("docs/ci/sweep.slurm"))
        .arg(&results)
        .args(runs)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let stallbox = |words: &[&str]| {
        let output = Command::new(stallbox())
            .current_dir(folder)
            .args(words)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    };
    let parts: Vec<String> = (1..=3)
        .map(|part| format!("results/{part}.jsonl"))
        .collect();
    let mut merge = vec!["sweep", "merge", "--json", "merged"];
    merge.extend(parts.iter().map(String::as_str));
    stallbox(&merge);
    let mut whole = vec!["sweep", "--json", "whole", "--out", "out", "--quiet"];
    whole.extend(runs);
    stallbox(&whole);
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(text("merged"), text("whole"));
}
