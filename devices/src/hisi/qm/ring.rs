//! A ring's index that does not forget how often it wrapped.

use crate::state::RingState;

/// A position counted from the start of the ring's life. Slot, phase and wrap bit all follow from
/// it, so that they cannot disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(pub(super) u64);

impl Position {
    pub(super) fn slot(self, depth: u32) -> u16 {
        (self.0 % u64::from(depth)) as u16
    }

    /// The bit that toggles at each wrap, 0 at first.
    pub(super) fn wrap(self, depth: u32) -> bool {
        self.0 / u64::from(depth) % 2 == 1
    }

    pub(super) fn next(self) -> Position {
        Position(self.0 + 1)
    }

    pub(super) fn since(self, earlier: Position) -> u64 {
        self.0 - earlier.0
    }

    /// The next position at or after this one that has slot `index`; `None` if the ring has no such
    /// slot or the position lies beyond `limit`.
    pub(super) fn advance_to(self, index: u16, depth: u32, limit: Position) -> Option<Position> {
        let index = u64::from(index);
        let depth = u64::from(depth);
        if index >= depth {
            return None;
        }
        let ahead = (index + depth - self.0 % depth) % depth;
        let position = Position(self.0 + ahead);
        (position <= limit).then_some(position)
    }
}

/// A ring between `head` and `tail`, to be shown.
pub(super) fn state(head: Position, tail: Position, depth: u32) -> RingState {
    RingState {
        head: head.slot(depth).into(),
        tail: tail.slot(depth).into(),
        entries: depth,
        queued: tail.0.saturating_sub(head.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_toggles_where_the_slot_returns_to_zero() {
        assert_eq!((Position(3).slot(4), Position(3).wrap(4)), (3, false));
        assert_eq!((Position(4).slot(4), Position(4).wrap(4)), (0, true));
        assert_eq!((Position(8).slot(4), Position(8).wrap(4)), (0, false));
    }

    #[test]
    fn an_index_is_taken_as_the_next_position_with_that_slot() {
        let limit = Position(9);
        assert_eq!(Position(6).advance_to(3, 4, limit), Some(Position(7)));
        assert_eq!(Position(6).advance_to(2, 4, limit), Some(Position(6)));
        assert_eq!(Position(6).advance_to(1, 4, limit), Some(Position(9)));
        assert_eq!(Position(7).advance_to(2, 4, limit), None);
        assert_eq!(Position(6).advance_to(4, 4, limit), None);
    }
}
