//! What rules match in records and commands, and what they put there.
//!
//! IHI 0070, *Event records* and *Commands*; the positions are those of Linux 6.12,
//! `arm-smmu-v3.h` (`EVTQ_*`, `CMDQ_*`).

use stallbox_faultplan::{Access, Act, Point, Stag, Subject};

pub(super) const CMD_RESUME: u64 = 0x44;
const EVENT_SSV: u64 = 1 << 11;
const EVENT_RNW: u64 = 1 << 35;
const EVENT_IND: u64 = 1 << 34;
const COMMAND_SSV: u64 = 1 << 11;
/// CMD_RESUME: Ac asks for a retry, Ab for an abort.
const RESUME_AC: u64 = 1 << 12;
const RESUME_AB: u64 = 1 << 13;

/// A record as rules see it.
pub(crate) fn record(words: &[u64; 4], stalled: bool) -> Subject<'static> {
    let number = (words[0] & 0xff) as u32;
    // The faults, and an abort of a walk, have an address and a kind of access.
    let of_access = matches!(number, 0x01 | 0x0b | 0x10..=0x13 | 0x24);
    let access = if words[1] & EVENT_RNW == 0 {
        Access::Write
    } else if words[1] & EVENT_IND != 0 {
        Access::Execute
    } else {
        Access::Read
    };
    Subject {
        stream: Some((words[0] >> 32) as u32),
        pasid: (words[0] & EVENT_SSV != 0).then_some((words[0] >> 12 & 0xf_ffff) as u32),
        address: of_access.then_some((words[2], words[2])),
        access: of_access.then_some(access),
        code: Some(number),
        stag: stalled.then_some(words[1] as u16),
        stalled,
        ..Subject::at(Point::Record)
    }
}

/// A command as rules see it.
pub(crate) fn command(words: &[u64; 2]) -> Subject<'static> {
    let opcode = (words[0] & 0xff) as u32;
    let stream = (words[0] >> 32) as u32;
    let ssid = (words[0] >> 12 & 0xf_ffff) as u32;
    let mut subject = Subject {
        code: Some(opcode),
        ..Subject::at(Point::Command)
    };
    match opcode {
        // CMD_PREFETCH_*, CMD_CFGI_*.
        0x01..=0x02 => {
            subject.stream = Some(stream);
            subject.pasid = (words[0] & COMMAND_SSV != 0).then_some(ssid);
            if opcode == 2 {
                subject.address = Some((words[1] & !0xfff, words[1] | 0xfff));
            }
        }
        0x03 | 0x06 => subject.stream = Some(stream),
        0x05 => {
            subject.stream = Some(stream);
            subject.pasid = Some(ssid);
        }
        // CMD_TLBI_*_VA, *_VAA and *_IPA.
        0x12 | 0x13 | 0x1a | 0x22 | 0x23 | 0x2a => subject.address = Some(tlbi_range(words)),
        // CMD_ATC_INV: Size is the address's power of two of pages.
        0x40 => {
            subject.stream = Some(stream);
            subject.pasid = (words[0] & COMMAND_SSV != 0).then_some(ssid);
            let size = words[1] & 0x3f;
            let low = if size >= 52 {
                u64::MAX
            } else {
                (0x1000 << size) - 1
            };
            subject.address = Some((words[1] & !0xfff & !low, words[1] | low));
        }
        0x41 => {
            subject.stream = Some(stream);
            subject.pasid = (words[0] & COMMAND_SSV != 0).then_some(ssid);
        }
        0x44 => {
            subject.stream = Some(stream);
            subject.stag = Some(resume_tag(words));
        }
        0x45 => subject.stream = Some(stream),
        _ => {}
    }
    subject
}

/// The addresses of an invalidation: TG (`CMDQ_TLBI_1_TG`, bits 11:10), NUM (16:12) and SCALE
/// (24:20) of *Range-based invalidation*; without TG, one page.
fn tlbi_range(words: &[u64; 2]) -> (u64, u64) {
    let granule = match words[1] >> 10 & 3 {
        0 => return (words[1] & !0xfff, words[1] | 0xfff),
        1 => 12,
        2 => 14,
        _ => 16,
    };
    let (num, scale) = (words[0] >> 12 & 0x1f, words[0] >> 20 & 0x1f);
    let first = words[1] & !((1 << granule) - 1);
    // At most 32 << (31 + 16): fits.
    (
        first,
        first.saturating_add(((num + 1) << (scale + granule)) - 1),
    )
}

/// The addresses whose translations an SMMU command invalidates, in 56 bits; `None` for another.
pub(crate) fn invalidated(words: &[u64; 2]) -> Option<(u64, u64)> {
    match words[0] & 0xff {
        0x12 | 0x13 | 0x22 | 0x23 | 0x2a => {
            let (first, last) = tlbi_range(words);
            const ADDRESS: u64 = (1 << 56) - 1;
            Some((first & ADDRESS, last & ADDRESS))
        }
        0x10 | 0x11 | 0x20 | 0x21 | 0x28 | 0x30 => Some((0, u64::MAX)),
        // A context whose configuration is invalidated is gone, or has other tables.
        _ => None,
    }
}

pub(super) fn resume_tag(words: &[u64; 2]) -> u16 {
    words[1] as u16
}

/// A CMD_RESUME with another tag and, if given, another response.
pub(super) fn resume(words: &[u64; 2], tag: u16, retry: Option<bool>) -> [u64; 2] {
    let mut first = words[0];
    if let Some(retry) = retry {
        first &= !(RESUME_AC | RESUME_AB);
        first |= if retry { RESUME_AC } else { RESUME_AB };
    }
    [first, words[1] & !0xffff | u64::from(tag)]
}

/// A decision in a few words, for the trace.
pub(super) fn act(act: &Act) -> String {
    match act {
        Act::Go => "go".to_owned(),
        Act::Fault(kind) => format!("fault {kind:?}").to_lowercase(),
        Act::Abort => "abort".to_owned(),
        Act::Evict => "evict".to_owned(),
        Act::Drop => "drop".to_owned(),
        Act::Duplicate(times) => format!("duplicate {times}"),
        Act::OvertakenBy(others) => format!("overtaken_by {others}"),
        Act::Overflow => "overflow".to_owned(),
        Act::Replace(words) => format!("replace {words:#x?}").replace(['\n', ' '], ""),
        Act::Resume { stag, retry } => {
            let stag = match stag {
                None => String::new(),
                Some(Stag::Fixed(tag)) => format!(" stag {tag}"),
                Some(Stag::Next) => " stag next".to_owned(),
                Some(Stag::Stale) => " stag stale".to_owned(),
            };
            let response = match retry {
                None => "",
                Some(true) => " response retry",
                Some(false) => " response abort",
            };
            format!("resume{stag}{response}")
        }
        Act::Error(code) => format!("error {code}"),
        Act::Fail(status) => format!("fail {status}"),
        Act::Answer(answer) => format!("answer {answer:?}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read of 0xffffb01c8000 by PASID 1 that stalls with tag 7, as Linux decodes it.
    const STALLED_READ: [u64; 4] = [
        0x0000_0008_0000_1810,
        0x0000_0208_8000_0007,
        0xffff_b01c_8000,
        0,
    ];

    #[test]
    fn a_record_is_taken_apart_as_linux_does() {
        let subject = record(&STALLED_READ, true);
        assert_eq!((subject.stream, subject.pasid), (Some(8), Some(1)));
        assert_eq!(subject.address, Some((0xffff_b01c_8000, 0xffff_b01c_8000)));
        assert_eq!((subject.stag, subject.code), (Some(7), Some(0x10)));
        assert_eq!(subject.access, Some(Access::Read));
        let mut write = STALLED_READ;
        write[1] &= !(1 << 35);
        assert_eq!(record(&write, true).access, Some(Access::Write));
    }

    #[test]
    fn an_invalidation_covers_what_its_fields_say() {
        // arm_smmu_cmdq_build_cmd: TLBI_NH_VA, ASID 1, 0xffffb01c8000; leaf.
        let one = command(&[1 << 48 | 0x12, 0xffff_b01c_8000 | 1]);
        assert_eq!(one.address, Some((0xffff_b01c_8000, 0xffff_b01c_8fff)));
        // With TG = 4 KiB, NUM = 2, SCALE = 1: (2 + 1) << 1 pages.
        let range = command(&[1 << 48 | 1 << 20 | 2 << 12 | 0x12, 0x10_0000 | 1 << 10]);
        assert_eq!(range.address, Some((0x10_0000, 0x10_5fff)));
    }

    #[test]
    fn a_resume_gets_another_tag_and_response() {
        let retry = [8 << 32 | 1 << 12 | 0x44, 5];
        assert_eq!(command(&retry).stag, Some(5));
        assert_eq!(resume(&retry, 6, None), [8 << 32 | 1 << 12 | 0x44, 6]);
        assert_eq!(
            resume(&retry, 5, Some(false)),
            [8 << 32 | 1 << 13 | 0x44, 5]
        );
    }
}
