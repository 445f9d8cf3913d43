//! Between vCPU threads and the device thread: calls one way, answers the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stallbox_firmware::layout::{self, Region};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Calls under way. A guest that writes registers faster than the device thread looks is held up
/// here, so that it cannot fill the host's memory.
const CALLS_MAX: usize = 256;

/// Bytes of the widest access: a pair of doublewords.
pub(super) const WIDEST: usize = 16;

/// Where a write need not wait until the device has seen it.
///
/// A guest maps these as Device-nGnRE, whose E (Early Write Acknowledgement) permits it, and on a
/// real bus writes to PCI memory are posted. Calls keep their order, so whoever reads a register
/// afterwards sees the write's effect. Not so the serial ports and the clock: a guest expects the
/// line of a level interrupt to have dropped when it has written the register that drops it.
const POSTED: [Region; 3] = [layout::SMMU, layout::PCI_MEMORY_32, layout::PCI_MEMORY_64];

/// Whether a write may be posted. Nothing answers at all addresses of a window; writes that nobody
/// takes are dropped there, as PCI Express drops posted requests.
fn is_posted(address: u64) -> bool {
    POSTED
        .iter()
        .any(|region| (region.base..region.end()).contains(&address))
}

/// What a vCPU wants.
#[derive(Debug)]
pub(super) enum Call {
    /// The registers' value.
    Read { address: u64, bytes: u8 },
    /// New content of registers.
    Write {
        address: u64,
        data: [u8; WIDEST],
        bytes: u8,
        /// The vCPU does not wait for an answer.
        posted: bool,
    },
    /// It stands still, as was asked.
    Parked,
    /// The guest or the vCPU has come to its end.
    Ended(End),
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// The guest switched itself off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// The host's kernel would not go on.
    Failed(String),
}

/// What the device thread says: what was read (or nothing, after a write), or that nothing answers
/// at that address.
pub(super) type Answer = Option<[u8; WIDEST]>;

/// The device thread is gone: the vCPU is to end.
pub(super) struct Gone;

/// How long either side looks for the other's word before it goes to sleep, where there is a CPU
/// to spare for that. To be woken takes about as long.
pub(super) const PATIENCE: Duration = Duration::from_micros(20);

/// Wakes the device thread.
struct Bell {
    event: EventFd,
    /// It is awake, or was rung for: it will look for calls before it sleeps.
    awake: AtomicBool,
}

impl Bell {
    fn ring(&self) -> std::io::Result<()> {
        self.event.write(1)
    }
}

/// A vCPU's end.
pub(super) struct Line {
    vcpu: usize,
    calls: SyncSender<(usize, Call)>,
    answers: Receiver<Answer>,
    bell: Arc<Bell>,
    patient: bool,
}

/// The device thread's end.
pub(super) struct Switchboard {
    calls: Receiver<(usize, Call)>,
    answers: Vec<Sender<Answer>>,
    bell: Arc<Bell>,
}

/// Lines for `vcpus` vCPUs. They are `patient` if a host's CPU can be spared for that.
pub(super) fn switchboard(vcpus: usize, patient: bool) -> Result<(Switchboard, Vec<Line>)> {
    let bell = Arc::new(Bell {
        event: EventFd::new(EFD_NONBLOCK).context("eventfd")?,
        awake: AtomicBool::new(false),
    });
    let (sender, calls) = sync_channel(CALLS_MAX);
    let (answers, lines) = (0..vcpus)
        .map(|vcpu| {
            let (answer, answers) = channel();
            let line = Line {
                vcpu,
                calls: sender.clone(),
                answers,
                bell: bell.clone(),
                patient,
            };
            (answer, line)
        })
        .unzip();
    let board = Switchboard {
        calls,
        answers,
        bell,
    };
    Ok((board, lines))
}

impl Line {
    fn send(&self, call: Call) -> Result<(), Gone> {
        self.calls.send((self.vcpu, call)).map_err(|_| Gone)?;
        // After the call is in the queue: who clears `awake` looks there afterwards.
        if !self.bell.awake.swap(true, Ordering::SeqCst) {
            self.bell.ring().map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Tells, and waits for nothing.
    pub(super) fn tell(&self, call: Call) -> Result<(), Gone> {
        self.send(call)
    }

    fn ask(&self, call: Call) -> Result<Answer, Gone> {
        self.send(call)?;
        let start = Instant::now();
        while self.patient && start.elapsed() < PATIENCE {
            match self.answers.try_recv() {
                Ok(answer) => return Ok(answer),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(TryRecvError::Disconnected) => return Err(Gone),
            }
        }
        self.answers.recv().map_err(|_| Gone)
    }

    /// Reads registers; `None` if nothing answers.
    pub(super) fn read(&self, address: u64, bytes: usize) -> Result<Answer, Gone> {
        self.ask(Call::Read {
            address,
            bytes: bytes.min(WIDEST) as u8,
        })
    }

    /// Writes registers; false if nothing answers.
    pub(super) fn write(&self, address: u64, data: &[u8]) -> Result<bool, Gone> {
        let bytes = data.len().min(WIDEST);
        let mut padded = [0; WIDEST];
        padded[..bytes].copy_from_slice(&data[..bytes]);
        let posted = is_posted(address);
        let call = Call::Write {
            address,
            data: padded,
            bytes: bytes as u8,
            posted,
        };
        if posted {
            self.send(call)?;
            return Ok(true);
        }
        Ok(self.ask(call)?.is_some())
    }
}

impl Switchboard {
    /// Becomes readable when there are calls.
    pub(super) fn bell(&self) -> &EventFd {
        &self.bell.event
    }

    /// The bell was heard.
    pub(super) fn hush(&self) {
        // Nothing to read means that it was heard already.
        let _ = self.bell.event.read();
    }

    /// The device thread is awake: it need not be rung for.
    pub(super) fn wake(&self) {
        self.bell.awake.store(true, Ordering::SeqCst);
    }

    /// The device thread is about to sleep, unless there is a call after all: calls from now on ring
    /// the bell.
    pub(super) fn rest(&self) -> Option<(usize, Call)> {
        self.bell.awake.swap(false, Ordering::SeqCst);
        let call = self.next()?;
        self.wake();
        Some(call)
    }

    /// The bell is rung on behalf of calls that wait.
    pub(super) fn ring(&self) {
        // It fails if it has been rung 2^64 times, and so is heard anyway.
        let _ = self.bell.ring();
    }

    /// The next call, with the vCPU that made it.
    pub(super) fn next(&self) -> Option<(usize, Call)> {
        self.calls.try_recv().ok()
    }

    /// The next call, as soon as there is one; `None` if all vCPU threads are gone.
    pub(super) fn wait(&self) -> Option<(usize, Call)> {
        self.calls.recv().ok()
    }

    /// Answers a vCPU. One that has ended does not hear it.
    pub(super) fn answer(&self, vcpu: usize, answer: Answer) {
        if let Some(sender) = self.answers.get(vcpu) {
            let _ = sender.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bell_rings_for_who_sleeps() {
        let (board, lines) = switchboard(1, false).unwrap();
        for _ in 0..2 {
            assert!(board.rest().is_none());
            assert!(lines[0].tell(Call::Parked).is_ok());
            assert!(lines[0].tell(Call::Parked).is_ok());
            // Two calls, one ring.
            assert_eq!(board.bell().read().unwrap(), 1);
            assert!(board.next().is_some() && board.next().is_some());
        }
    }

    #[test]
    fn a_call_before_going_to_sleep_is_found() {
        let (board, lines) = switchboard(1, false).unwrap();
        board.wake();
        assert!(lines[0].tell(Call::Parked).is_ok());
        assert!(board.bell().read().is_err());
        assert!(board.rest().is_some());
        // Awake again, and so not rung for.
        assert!(lines[0].tell(Call::Parked).is_ok());
        assert!(board.bell().read().is_err());
    }

    #[test]
    fn writes_to_pci_memory_wait_for_nobody() {
        let (board, lines) = switchboard(1, true).unwrap();
        assert!(
            lines[0]
                .write(layout::PCI_MEMORY_64.base + 8, &[1; 16])
                .is_ok()
        );
        let Some((
            0,
            Call::Write {
                bytes: 16,
                posted: true,
                ..
            },
        )) = board.next()
        else {
            panic!("not that call");
        };
        assert!(!is_posted(layout::SERIAL0.base));
        assert!(!is_posted(layout::PCI_ECAM.base));
    }

    #[test]
    fn a_line_without_a_switchboard_says_so() {
        let (board, lines) = switchboard(1, true).unwrap();
        drop(board);
        assert!(lines[0].read(layout::SERIAL0.base, 1).is_err());
    }
}
