//! Builds the kernel Image and the initramfs that Stallbox boots.
