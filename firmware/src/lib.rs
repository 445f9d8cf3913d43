//! What the guest is handed at reset: device tree and boot registers.
