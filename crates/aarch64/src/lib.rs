//! A deterministic Armv8-A AArch64 CPU: decode, execute, exceptions, MMU, system registers.
