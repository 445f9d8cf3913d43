use crate::Access;
use crate::testing::{Driver, USER_RW};

#[test]
fn a_stalled_access_goes_on_when_its_page_is_mapped_and_it_is_resumed() {
    let driver = Driver::with_process();

    let read = driver.access(0xffff_1234_5678, Access::READ);

    assert!(read.is_waiting());
    // F_TRANSLATION, SSV, SSID 1, SID; STALL, RnW, CLASS = IN, STAG 0.
    let event = [0x105_0000_1810, 0x0208_8000_0000, 0xffff_1234_5678, 0];
    assert_eq!(driver.events(), [event]);

    driver.map(0xffff_1234_5000, 0x8765_4000 | USER_RW);
    driver.resume(0, 1);

    assert_eq!(read.address(), 0x8765_4678);
    assert_eq!(
        driver.access(0xffff_1234_5fff, Access::WRITE).address(),
        0x8765_4fff
    );
    assert_eq!(driver.smmu.counters().tlb_hits, 1);
    assert!(driver.events().is_empty());
    assert!(driver.smmu.outstanding_stalls().is_empty());
}
