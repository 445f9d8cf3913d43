//! What events name. Who decides which of these it is has them from here.

use crate::name::names;

names! {
    /// How an ATS translation request ended.
    pub enum AtsAnswer {
        /// A translation, perhaps one that permits nothing.
        Success = "success",
        /// ATS is off for the stream.
        UnsupportedRequest = "unsupported_request",
        /// Configuration or memory is at fault.
        CompleterAbort = "completer_abort",
    }
}

names! {
    /// How far the invalidation of a device's translation cache is.
    pub enum AtcInvalidateStage {
        /// CMD_ATC_INV was consumed.
        Sent = "sent",
        /// The device completed it.
        Done = "done",
        /// The device completed it after it had been given up.
        Late = "late",
        /// It was given up.
        TimedOut = "timed_out",
    }
}

names! {
    /// A checker.
    pub enum Check {
        /// Translations that are not invalidated.
        Tlb = "tlb",
        /// Stalls and page requests that are not answered, or wrongly.
        Stall = "stall",
        /// DMA to pages that are not the process's.
        Dma = "dma",
        /// Configuration that is not invalidated.
        Config = "config",
        /// PASIDs that change hands.
        Pasid = "pasid",
    }
}

names! {
    /// What a checker finds.
    pub enum FindingKind {
        /// `tlb`: DMA through a translation that has changed in memory.
        StaleTranslation = "stale_translation",
        /// `tlb`: DMA through a translation of another address space.
        ForeignTranslation = "foreign_translation",
        /// `stall`: a stall has no answer.
        UnansweredStall = "unanswered_stall",
        /// `stall`: a CMD_RESUME for which no stall waits.
        UnexpectedResume = "unexpected_resume",
        /// `stall`: the same fault again and again.
        RepeatedFault = "repeated_fault",
        /// `stall`: a stall was answered after its PASID was unbound.
        ResumeAfterUnbind = "resume_after_unbind",
        /// `stall`: a page request group has no answer.
        UnansweredPageRequest = "unanswered_page_request",
        /// `stall`: a CMD_PRI_RESP for which no page request group waits.
        UnexpectedPageResponse = "unexpected_page_response",
        /// `dma`: DMA to a page that the guest has freed.
        FreedPage = "freed_page",
        /// `dma`: DMA to a page of another process.
        ForeignPage = "foreign_page",
        /// `config`: DMA by a level 1 stream table descriptor that has changed in memory.
        StaleStreamTable = "stale_stream_table",
        /// `config`: DMA by a stream table entry that has changed in memory.
        StaleStreamEntry = "stale_stream_entry",
        /// `config`: DMA by a level 1 context descriptor that has changed in memory.
        StaleContextTable = "stale_context_table",
        /// `config`: DMA by a context descriptor that has changed in memory.
        StaleContext = "stale_context",
        /// `pasid`: a stall was retried in another owner's address space.
        StallChangedOwner = "stall_changed_owner",
        /// `pasid`: a job goes on in another owner's address space.
        JobChangedOwner = "job_changed_owner",
    }
}

names! {
    /// What a kernel reports of its own faults.
    pub enum KernelReportKind {
        /// It cannot go on.
        Panic = "panic",
        /// A fault or an exception that nothing handles.
        Oops = "oops",
        /// `BUG()`, and whatever else it calls a BUG.
        Bug = "bug",
        /// KASAN: memory that is used after it was freed, or out of bounds.
        Kasan = "kasan",
        /// KMSAN: memory that is used before it was written.
        Kmsan = "kmsan",
        /// KFENCE: as KASAN, on samples.
        Kfence = "kfence",
        /// KCSAN: a data race.
        Kcsan = "kcsan",
        /// UBSAN: undefined behaviour of C.
        Ubsan = "ubsan",
        /// `WARN()`.
        Warn = "warn",
        /// Lockdep: locks, RCU or interrupts used against the rules.
        Lockdep = "lockdep",
        /// A CPU or a task holds up RCU's grace periods.
        RcuStall = "rcu-stall",
        /// A CPU or a workqueue that makes no progress.
        Lockup = "lockup",
        /// A task that has been blocked for long.
        HungTask = "hung-task",
        /// An interrupt that nobody handles, and that is switched off.
        Irq = "irq",
    }
}

names! {
    /// Why an effect could not be brought about, or not all of it.
    pub enum WhyNot {
        /// The machine is not complete.
        IncompleteMachine = "incomplete_machine",
        /// The SMMU knows no such command.
        UnknownCommand = "unknown_command",
        /// Too many accesses are under way.
        TooManyAccesses = "too_many_accesses",
        /// There is no such rule.
        NoRule = "no_rule",
        /// This engine does not stop.
        CannotPause = "cannot_pause",
        /// There is no accelerator, or none with this StreamID.
        NoAccelerator = "no_accelerator",
        /// There are several accelerators, and none is named.
        SeveralAccelerators = "several_accelerators",
        /// The device has no such interrupt vector.
        NoVector = "no_vector",
        /// The ring is not set up.
        NoRing = "no_ring",
        /// The ring overflowed.
        Overflow = "overflow",
        /// The queue is not enabled.
        NoQueue = "no_queue",
        /// The device has nothing of the kind.
        Unsupported = "unsupported",
    }
}

names! {
    /// A block of registers.
    pub enum Block {
        /// A function's configuration space.
        Config = "config",
        /// A function's BAR.
        Bar0 = "bar0",
        /// A function's BAR.
        Bar1 = "bar1",
        /// A function's BAR.
        Bar2 = "bar2",
        /// A function's BAR.
        Bar3 = "bar3",
        /// A function's BAR.
        Bar4 = "bar4",
        /// A function's BAR.
        Bar5 = "bar5",
        /// The configuration space of functions that are not there.
        PcieEcam = "pcie-ecam",
        /// An address that no BAR decodes.
        PcieWindow = "pcie-window",
        /// The SMMU.
        Smmu = "smmu",
        /// The real-time clock.
        Rtc = "rtc",
        /// The console.
        Serial0 = "serial0",
        /// What the guest's init tells.
        Serial1 = "serial1",
        /// The GIC's distributor.
        GicDistributor = "gic-distributor",
        /// The GIC's redistributors.
        GicRedistributors = "gic-redistributors",
        /// The GIC's ITS.
        GicIts = "gic-its",
    }
}

names! {
    /// A ring of events of the ZIP.
    pub enum EventRing {
        /// That of completions.
        Eq = "eq",
        /// That of failures.
        Aeq = "aeq",
    }
}

names! {
    /// The tag that a rule puts into a CMD_RESUME, if it is not a number.
    pub enum OtherTag {
        /// The one after it.
        Next = "next",
        /// That of the CMD_RESUME before it.
        Stale = "stale",
    }
}
