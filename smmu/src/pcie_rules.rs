//! The rules of a stream about ATS and PRI.
//!
//! IHI 0070, *Stream Table Entry*, *Validity of STE*.

use crate::features::Config;
use crate::spec::ste::Ste;

/// What a stream table entry says about ATS and PRI, whatever else it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PcieRules {
    /// EATS: translation requests and translated transactions are accepted, and are full ones.
    pub(crate) ats: bool,
    /// PPAR: automatic page responses carry a PASID.
    pub(crate) pasid_on_response: bool,
}

impl PcieRules {
    pub(crate) fn parse(ste: &Ste) -> PcieRules {
        PcieRules {
            // 3 needs DPT, which is not there, and acts as 0; 2 is illegal without stage 2.
            ats: ste.eats() == 1,
            pasid_on_response: ste.ppar(),
        }
    }
}

/// Whether EATS makes an entry that translates illegal: *Validity of STE*. Split-stage ATS needs
/// nested translation, and SMMU_IDR0.NS1ATS says that it is not there.
pub(crate) fn is_illegal(ste: &Ste, stage2: bool, features: &Config) -> bool {
    features.ats
        && match ste.eats() {
            0 => false,
            2 => true,
            // A page request takes the place of a stall.
            _ => stage2 && ste.s2_s(),
        }
}
