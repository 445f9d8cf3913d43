//! The device from outside: registers, rings and memory as the Linux driver and UADK use them.
//! Offsets and words are written out from their sources (Linux 6.12, qm.c, qm_common.h, zip.h;
//! UADK, hisi_comp.c), not taken from the model's own types.

mod block;
mod events;
mod faults;
mod hostile;
mod queues;
mod registers;
mod stream;

use super::testing as guest;
use guest::{Guest, Job, Queue};
