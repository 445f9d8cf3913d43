//! What a stream's next bytes may refer to: up to 32 KiB of its last ones.

/// The farthest that deflate reaches back.
pub(super) const WINDOW_BYTES: usize = 32 << 10;

/// A window, and after it what was produced since it was last cut.
#[derive(Default)]
pub(super) struct History {
    bytes: Vec<u8>,
    window: usize,
}

impl History {
    pub(super) fn new(mut window: Vec<u8>) -> History {
        window.drain(..window.len().saturating_sub(WINDOW_BYTES));
        History {
            window: window.len(),
            bytes: window,
        }
    }

    /// Bytes produced since the last cut.
    pub(super) fn produced(&self) -> usize {
        self.bytes.len() - self.window
    }

    /// Those bytes.
    pub(super) fn output(&self) -> &[u8] {
        &self.bytes[self.window..]
    }

    /// The last 32 KiB, or what there is.
    pub(super) fn window(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(WINDOW_BYTES)..]
    }

    /// Forgets all but the window; what was produced is now part of it.
    pub(super) fn cut(&mut self) {
        self.bytes
            .drain(..self.bytes.len().saturating_sub(WINDOW_BYTES));
        self.window = self.bytes.len();
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether there is a byte `distance` back.
    pub(super) fn reaches(&self, distance: usize) -> bool {
        (1..=self.bytes.len().min(WINDOW_BYTES)).contains(&distance)
    }

    /// Repeats `length` bytes from `distance` back; the source may run into its own copy. False if
    /// there is no such byte.
    pub(super) fn copy(&mut self, distance: usize, length: usize) -> bool {
        if !self.reaches(distance) {
            return false;
        }
        let from = self.bytes.len() - distance;
        if length <= distance {
            self.bytes.extend_from_within(from..from + length);
        } else {
            for at in from..from + length {
                let byte = self.bytes[at];
                self.bytes.push(byte);
            }
        }
        true
    }
}
