//! The function through its BARs, configuration space and memory, by the numbers of
//! `docs/test-engine.md`: nothing here uses the types or constants under test.

mod guest;
mod hostile;
mod operations;
mod queues;
mod registers;
