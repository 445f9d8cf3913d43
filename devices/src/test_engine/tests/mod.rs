//! The function through its BARs, configuration space and memory, by the numbers of
//! `docs/test-engine.md`: nothing here uses the types or constants under test.

mod hostile;
mod operations;
mod page_requests;
mod queues;
mod registers;
mod verdicts;

use super::testing as guest;
