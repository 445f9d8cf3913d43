//! How a run ended, and the exit status that says so.

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command in the guest ended with this status.
    Command(u8),
    /// The guest switched itself off without a command's status.
    PowerOff,
    /// The guest asked for a reset. Stallbox does not boot it again.
    Reset,
    /// The guest's kernel panicked.
    Panic,
    /// All CPUs sleep, and nothing will ever wake them.
    Asleep,
    /// Virtual time has no later point, or the guest waits for one.
    EndOfTime,
    /// The time limit was reached.
    Timeout,
    /// The limit of the guest's own time was reached.
    StopAt,
    /// The user left.
    Quit,
    /// A repetition went another way than the run that was recorded; where is told apart from this.
    Diverged,
    /// What the guest prints, or the trace, cannot be written; which and why is told apart from this.
    Unheard,
}

impl Outcome {
    /// Exit status of a run that succeeded, but whose kernel reported a fault of its own.
    pub const KERNEL_REPORTED: u8 = 120;
    /// Exit status for a guest kernel's panic.
    pub const PANIC: u8 = 121;
    /// Exit status for a guest that ended or stopped without a command's status.
    pub const NO_STATUS: u8 = 122;
    /// Exit status for a time limit, in either time; the same as that of timeout(1).
    pub const TIMEOUT: u8 = 124;
    /// Exit status of a run that succeeded, but of which a checker reported something.
    pub const REPORTED: u8 = 123;
    /// Exit status for an error of Stallbox or its user.
    pub const ERROR: u8 = 125;

    /// Its name in the summary.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Command(_) => "command",
            Outcome::PowerOff => "power-off",
            Outcome::Reset => "reset",
            Outcome::Panic => "panic",
            Outcome::Asleep => "asleep",
            Outcome::EndOfTime => "end-of-time",
            Outcome::Diverged => "diverged",
            Outcome::Unheard => "unheard",
            Outcome::Timeout => "timeout",
            Outcome::StopAt => "stop-at",
            Outcome::Quit => "quit",
        }
    }

    /// Whether the guest did not come to an end of its own: what it had under way then tells why.
    pub fn is_cut_off(&self) -> bool {
        match self {
            Outcome::Panic
            | Outcome::Asleep
            | Outcome::EndOfTime
            | Outcome::Timeout
            | Outcome::StopAt
            | Outcome::Quit => true,
            Outcome::Command(_)
            | Outcome::PowerOff
            | Outcome::Reset
            | Outcome::Diverged
            | Outcome::Unheard => false,
        }
    }

    /// The exit status; `command` tells whether one was asked for.
    pub fn status(&self, command: bool) -> u8 {
        match self {
            Outcome::Command(status) => *status,
            Outcome::PowerOff | Outcome::Quit if !command => 0,
            Outcome::PowerOff
            | Outcome::Quit
            | Outcome::Reset
            | Outcome::Asleep
            | Outcome::EndOfTime => Outcome::NO_STATUS,
            Outcome::Diverged | Outcome::Unheard => Outcome::ERROR,
            Outcome::Panic => Outcome::PANIC,
            Outcome::Timeout | Outcome::StopAt => Outcome::TIMEOUT,
        }
    }

    /// What to tell the user, unless all went as asked.
    pub fn complaint(&self, command: bool) -> Option<&'static str> {
        match self {
            Outcome::Command(_) | Outcome::Diverged => None,
            Outcome::PowerOff | Outcome::Quit if !command => None,
            Outcome::PowerOff => Some(
                "the guest switched off before the command's exit status arrived (an initramfs of \
                 your own must run /stallbox/command and write \"exit N\" to ttyS1)",
            ),
            Outcome::Quit => Some("left before the command ended"),
            Outcome::Reset => Some("the guest asked for a reset"),
            Outcome::Panic => Some("the guest's kernel panicked"),
            Outcome::Asleep => Some("all CPUs of the guest sleep, and nothing will wake them"),
            Outcome::EndOfTime => Some(
                "the guest waits for a time that virtual time does not reach: it ends 213 days after \
                 power-on",
            ),
            Outcome::Unheard => Some("what the guest prints, or the trace, could not be written"),
            Outcome::Timeout => Some("the time limit (--timeout) was reached"),
            Outcome::StopAt => {
                Some("the end of the run in the guest's time (--stop-at) was reached")
            }
        }
    }
}
