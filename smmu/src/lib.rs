//! A model of the Arm SMMUv3: tables, queues, TLB, stalls.
