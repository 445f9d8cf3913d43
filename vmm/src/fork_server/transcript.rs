//! All that a guest writes to its console, as far as there is room for it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use super::protocol::Transcript;

/// As much is kept, from the end.
const BYTES_MAX: usize = 8 << 20;

/// Keeps a console. Clones keep the same one.
#[derive(Clone, Default)]
pub(super) struct Kept(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Kept {
    pub(super) fn transcript(&self) -> Transcript {
        let state = self.0.borrow();
        let start = state.bytes.len().saturating_sub(BYTES_MAX);
        Transcript {
            text: String::from_utf8_lossy(&state.bytes[start..]).into_owned(),
            is_cut: state.is_cut || start > 0,
        }
    }
}

impl Write for Kept {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        state.bytes.extend(piece);
        // Not each time: what is kept is moved then.
        if state.bytes.len() > 2 * BYTES_MAX {
            let start = state.bytes.len() - BYTES_MAX;
            state.bytes.drain(..start);
            state.is_cut = true;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_without_end_keeps_its_end() {
        let mut kept = Kept::default();
        kept.write_all(b"first ").unwrap();
        assert!(!kept.transcript().is_cut);
        for _ in 0..40 {
            kept.write_all(&[b'x'; 1 << 20]).unwrap();
        }
        kept.write_all(b" last").unwrap();
        let told = kept.transcript();
        assert!(told.is_cut && told.text.ends_with("x last"));
        assert_eq!(told.text.len(), BYTES_MAX);
        assert!(kept.0.borrow().bytes.len() <= 2 * BYTES_MAX);
    }
}
