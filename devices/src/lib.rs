//! The machine's devices: GICv3 and ITS, PCIe, serial port, clock, HiSilicon accelerator.
