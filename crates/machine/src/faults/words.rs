//! What rules match in records and commands, and what they put there.

use stallbox_faultplan::{Access, Act, Point, Stag, Subject};
use stallbox_smmu::spec::command::{RESUME_AB, RESUME_AC, Raw, op};
use stallbox_smmu::spec::event::Record;

pub(super) const CMD_RESUME: u64 = op::RESUME as u64;

/// A record as rules see it.
pub fn record(words: &[u64; 4], stalled: bool) -> Subject<'static> {
    let record = Record(*words);
    // The faults, and an abort of a walk, have an address and a kind of access.
    let of_access = record.is_of_access();
    let access = match (record.read(), record.instruction()) {
        (false, _) => Access::Write,
        (true, true) => Access::Execute,
        (true, false) => Access::Read,
    };
    Subject {
        stream: Some(record.sid()),
        pasid: record.ssv().then(|| record.ssid()),
        address: of_access.then(|| (record.address(), record.address())),
        access: of_access.then_some(access),
        code: Some(record.number().into()),
        stag: stalled.then(|| record.stag()),
        stalled,
        ..Subject::at(Point::Record)
    }
}

/// A command as rules see it.
pub fn command(words: &[u64; 2]) -> Subject<'static> {
    let raw = Raw(*words);
    let (stream, pasid) = (Some(raw.sid()), raw.ssv().then(|| raw.ssid()));
    let mut subject = Subject {
        code: Some(raw.opcode().into()),
        ..Subject::at(Point::Command)
    };
    match raw.opcode() {
        op::PREFETCH_CONFIG | op::PREFETCH_ADDR => {
            subject.stream = stream;
            subject.pasid = pasid;
            if raw.opcode() == op::PREFETCH_ADDR {
                subject.address = Some((raw.prefetch_address(), raw.prefetch_address() | 0xfff));
            }
        }
        op::CFGI_STE | op::CFGI_CD_ALL | op::STALL_TERM => subject.stream = stream,
        op::CFGI_CD => {
            subject.stream = stream;
            subject.pasid = Some(raw.ssid());
        }
        op::TLBI_NH_VA
        | op::TLBI_NH_VAA
        | TLBI_EL3_VA
        | op::TLBI_EL2_VA
        | op::TLBI_EL2_VAA
        | op::TLBI_S2_IPA => subject.address = Some(tlbi_range(&raw)),
        // Size is the address's power of two of pages.
        op::ATC_INV => {
            subject.stream = stream;
            subject.pasid = pasid;
            let low = match raw.atc_size() {
                52.. => u64::MAX,
                size => (0x1000 << size) - 1,
            };
            subject.address = Some((raw.atc_address() & !low, words[1] | low));
        }
        op::PRI_RESP => {
            subject.stream = stream;
            subject.pasid = pasid;
        }
        op::RESUME => {
            subject.stream = stream;
            subject.stag = Some(raw.resume_stag());
        }
        _ => {}
    }
    subject
}

/// Which no SMMU here executes.
const TLBI_EL3_VA: u8 = 0x1a;

/// The addresses of an invalidation; without TG, one page.
fn tlbi_range(raw: &Raw) -> (u64, u64) {
    let address = raw.tlbi_address();
    match raw.tlbi_granule() {
        None => (address, address | 0xfff),
        Some(granule) => raw.tlbi_range(address, granule, false),
    }
}

pub(super) fn resume_tag(words: &[u64; 2]) -> u16 {
    Raw(*words).resume_stag()
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

/// A decision in a few words, for people.
pub(crate) fn act(act: &Act) -> String {
    match act {
        Act::Go => "go".to_owned(),
        Act::Fault(kind) => format!("fault {}", kind.name()),
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
        Act::Answer(answer) => format!("answer {}", answer.name()),
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
