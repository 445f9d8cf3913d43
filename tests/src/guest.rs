//! A guest to be booted, on the engine that the feature `kvm` decides.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use stallbox_guest_images::cpio;
use tempfile::TempDir;

use crate::run::Run;
use crate::{image, script, slots, stallbox};

/// The host's time after which Stallbox must give up by itself. Long: the machine may be busy, and
/// the host of the kvm engine may be emulated.
const TIMEOUT_SECONDS: u32 = if cfg!(feature = "kvm") { 600 } else { 240 };
/// So much later a Stallbox that did not is killed.
const GRACE: Duration = Duration::from_secs(60);

/// Options of `stallbox run` that choose the engine.
///
/// The feature `kvm` is the parameter, and not the environment, so that libtest can tell which tests do
/// not apply to an engine, and why (`ignore`).
pub const ENGINE: &[&str] = if cfg!(feature = "kvm") {
    &["--engine", "kvm"]
} else {
    &[]
};

/// A guest to be booted, with Stallbox's defaults unless told otherwise.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    options: Vec<OsString>,
    files: Vec<(String, Vec<u8>)>,
    program: Option<PathBuf>,
    prefix: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    input: Option<Input>,
    action: Option<Action>,
    timeout_seconds: Option<u32>,
    trace: bool,
}

/// What somebody types.
#[derive(Clone, Debug)]
struct Input {
    /// Only after this has appeared on the console; empty: at once.
    prompt: String,
    bytes: Vec<u8>,
}

/// What happens to Stallbox's process, by its PID.
#[derive(Clone, Debug)]
struct Action {
    /// Only after this has appeared on the console.
    prompt: String,
    act: fn(u32),
}

impl Guest {
    /// A guest.
    pub fn new() -> Guest {
        Guest::default()
    }

    /// With so many vCPUs.
    pub fn cpus(self, cpus: u32) -> Guest {
        self.option("--cpus", cpus.to_string())
    }

    /// With the accelerator in this revision, such as `0x21`.
    pub fn revision(self, revision: &str) -> Guest {
        self.option("--accel", format!("zip,rev={revision}"))
    }

    /// With any option of `stallbox run` that takes a value.
    pub fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Guest {
        self.options.extend([name.into(), value.as_ref().into()]);
        self
    }

    /// With any option of `stallbox run` that takes no value.
    pub fn flag(mut self, name: &str) -> Guest {
        self.options.push(name.into());
        self
    }

    /// With a file in its folder `/in`.
    pub fn file(mut self, name: &str, content: &[u8]) -> Guest {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// Writes a trace, for [`Run::trace`].
    pub fn traced(mut self) -> Guest {
        self.trace = true;
        self
    }

    /// Stallbox is started by another program, such as `["nice", "-n", "19"]`.
    pub fn started_by(mut self, words: &[&str]) -> Guest {
        self.prefix = words.iter().map(OsString::from).collect();
        self
    }

    /// Another `stallbox` than the usual one is started.
    pub fn program(mut self, path: &Path) -> Guest {
        self.program = Some(path.to_owned());
        self
    }

    /// Stallbox finds this in its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Guest {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Stallbox is started in this folder.
    pub fn in_folder(mut self, folder: &Path) -> Guest {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Stallbox finds this on its standard input, which is otherwise empty.
    pub fn input(mut self, bytes: &[u8]) -> Guest {
        self.input = Some(Input {
            prompt: String::new(),
            bytes: bytes.to_owned(),
        });
        self
    }

    /// Somebody types this on Stallbox's standard input after `prompt` has appeared.
    pub fn typed_at(mut self, prompt: &str, bytes: &[u8]) -> Guest {
        self.input = Some(Input {
            prompt: prompt.to_owned(),
            bytes: bytes.to_owned(),
        });
        self
    }

    /// `act` is called with the PID of Stallbox after `prompt` has appeared on the console. What comes
    /// on the console meanwhile waits.
    pub fn when(mut self, prompt: &str, act: fn(u32)) -> Guest {
        self.action = Some(Action {
            prompt: prompt.to_owned(),
            act,
        });
        self
    }

    /// Stallbox gets so many seconds of the host's time.
    pub fn timeout_seconds(mut self, seconds: u32) -> Guest {
        self.timeout_seconds = Some(seconds);
        self
    }

    /// Boots, runs a shell script, and waits for the end. The script's output is
    /// [`Run::output`], and its function `give FILE` fills [`Run::file`].
    pub fn run(&self, script: &str) -> Run {
        self.boot(&[&script::wrap(script)], script)
    }

    /// Boots and runs these words as a user's command, without anything around it.
    pub fn run_raw(&self, words: &[&str]) -> Run {
        self.boot(words, &format!("{words:?}"))
    }

    /// `shown` is what a failure calls the command.
    fn boot(&self, words: &[&str], shown: &str) -> Run {
        let folder = tempfile::tempdir().expect("cannot make a temporary folder");
        let mut command = self.command(&folder);
        let line = format!("{command:?}\n{shown}");
        if !words.is_empty() {
            command.arg("--").args(words);
        }
        let slot = slots::take();
        let started = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        let outside = Outside {
            typist: self.input.clone().zip(child.stdin.take()),
            action: self.action.clone().map(|action| (action, child.id())),
        };
        let console = collect(child.stdout.take().expect("piped"), outside);
        let errors = collect(child.stderr.take().expect("piped"), Outside::default());
        let limit = Duration::from_secs(self.limit().into()) + GRACE;
        let status = wait(&mut child, limit).unwrap_or_else(|| {
            panic!("{line} did not end within {limit:?}, in spite of --timeout")
        });
        drop(slot);
        let text = |bytes: thread::JoinHandle<Vec<u8>>| {
            let bytes = bytes.join().expect("a reader does not panic");
            String::from_utf8_lossy(&bytes).replace('\r', "")
        };
        Run::new(
            folder,
            line,
            status,
            text(console),
            text(errors),
            started.elapsed(),
        )
    }

    fn limit(&self) -> u32 {
        self.timeout_seconds.unwrap_or(TIMEOUT_SECONDS)
    }

    /// Up to the guest's command.
    fn command(&self, folder: &TempDir) -> Command {
        // Without it no guest can be booted; Stallbox would say so, but each test in its own way.
        let image = image();
        let mut line: Vec<&OsStr> = self.prefix.iter().map(OsString::as_os_str).collect();
        line.push(
            self.program
                .as_deref()
                .unwrap_or_else(|| stallbox())
                .as_os_str(),
        );
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).arg("run").args(ENGINE);
        command.args(&self.options);
        // Where an exit is dear, a boot's log takes longer than the boot.
        if cfg!(feature = "kvm") && !self.options.iter().any(|option| option == "--append") {
            command.args(["--append", "quiet"]);
        }
        if !self.files.is_empty() {
            let path = folder.path().join("initrd");
            fs::write(&path, self.initrd(&image.initrd)).expect("cannot write an initrd");
            command.arg("--initrd").arg(path);
        }
        for (option, name) in [("--summary", Run::SUMMARY), ("--results", Run::RESULTS)] {
            command.arg(option).arg(folder.path().join(name));
        }
        if self.trace {
            command.arg("--trace").arg(folder.path().join(Run::TRACE));
        }
        command.arg("--timeout").arg(self.limit().to_string());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(if self.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The image's own, and behind it an archive with the files.
    fn initrd(&self, base: &Path) -> Vec<u8> {
        let mut initrd = fs::read(base)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", base.display()));
        let mut archive = cpio::Archive::new();
        archive.directory("in", 0o755);
        for (name, content) in &self.files {
            archive.file(&format!("in/{name}"), 0o644, content);
        }
        cpio::append(&mut initrd, archive);
        initrd
    }
}

/// Who waits for what a stream says.
#[derive(Default)]
struct Outside {
    typist: Option<(Input, ChildStdin)>,
    action: Option<(Action, u32)>,
}

impl Outside {
    /// Does what this was waited for with.
    fn hear(&mut self, bytes: &[u8]) {
        let typist = &mut self.typist;
        if let Some((input, mut stdin)) = typist.take_if(|(it, _)| contains(bytes, &it.prompt)) {
            // Who does not read its input may have ended already.
            let _ = stdin.write_all(&input.bytes);
        }
        let action = &mut self.action;
        if let Some((action, pid)) = action.take_if(|(it, _)| contains(bytes, &it.prompt)) {
            (action.act)(pid);
        }
    }
}

/// Reads to the end on a thread of its own: a full pipe would stop the child.
fn collect(
    mut stream: impl Read + Send + 'static,
    mut outside: Outside,
) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            outside.hear(&bytes);
            match stream.read(&mut piece) {
                Ok(length) if length > 0 => bytes.extend_from_slice(&piece[..length]),
                // What cannot be read is missing, and the test will say what it misses.
                _ => return bytes,
            }
        }
    })
}

fn contains(bytes: &[u8], text: &str) -> bool {
    text.is_empty()
        || bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
}

/// The exit status, or `None` and a child that is no more.
fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("cannot wait for stallbox") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("cannot kill stallbox");
    child.wait().expect("cannot wait for stallbox");
    None
}
