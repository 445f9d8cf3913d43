//! Wired and software-generated interrupts, and the CPU interface.

use std::cell::RefCell;

use super::*;

#[test]
fn identification_is_what_the_driver_expects() {
    let rig = Rig::reset(4);

    let typer = read32(&rig.dist, GICD_TYPER);

    assert_eq!(((typer & 0x1f) + 1) * 32, 288, "GICD_TYPER_SPIS");
    assert_eq!((typer >> 19 & 0x1f) + 1, 16, "GICD_TYPER_ID_BITS");
    assert_ne!(typer & 1 << 17, 0, "LPIS");
    assert_ne!(typer & 1 << 25, 0, "No1N");
    // Neither MBIS, ESPI, SecurityExtn, DVIS, A3V nor RSS.
    assert_eq!(
        typer & (1 << 16 | 1 << 8 | 1 << 10 | 1 << 18 | 1 << 24 | 1 << 26),
        0
    );
    assert_eq!(
        read32(&rig.dist, GICD_CTLR),
        1 << 6 | 1 << 4,
        "DS and ARE, nothing enabled"
    );
    assert_eq!(read32(&rig.dist, PIDR2), 0x3b);
    assert_eq!(read32(&rig.redist, PIDR2), 0x3b);
    assert_eq!(read32(&rig.its, PIDR2), 0x3b);
    for cpu in 0..4 {
        let typer = read64(&rig.redist, rig.rd(cpu) + GICR_TYPER);
        assert_eq!(typer >> 32, cpu as u64, "affinity");
        assert_eq!(typer >> 8 & 0xffff, cpu as u64, "GICR_TYPER_CPU_NUMBER");
        assert_eq!(typer & 1 << 4 != 0, cpu == 3, "Last");
        assert_eq!(typer & 1, 1, "PLPIS");
        assert_eq!(
            typer & (1 << 1 | 1 << 3 | 1 << 7),
            0,
            "no VLPIS, DirectLPIS, RVPEID"
        );
        assert_eq!(typer >> 27 & 0x1f, 0, "16 PPIs");
    }
}

#[test]
fn cpu_interface_reports_five_priority_bits_and_group_0() {
    let rig = Rig::booted(1);
    assert_eq!((rig.get(0, CTLR) >> 8 & 7) + 1, 5, "ICC_CTLR_EL1_PRI_BITS");
    assert_eq!(
        rig.get(0, CTLR) & (7 << 11 | 1 << 14 | 1 << 15 | 1 << 18 | 1 << 19),
        0
    );
    assert_eq!(rig.get(0, SRE), 7);

    // `gic_has_group0`: the lowest implemented bit sticks if group 0 is ours.
    rig.set(0, PMR, 1 << (8 - 5));
    assert_eq!(rig.get(0, PMR), 8);
    rig.set(0, PMR, 0xff);
    assert_eq!(rig.get(0, PMR), 0xf8);
    assert_eq!(
        (rig.get(0, BPR0), rig.get(0, BPR1)),
        (2, 3),
        "smallest binary points"
    );
}

#[test]
fn registers_that_are_not_there_are_undefined() {
    let rig = Rig::booted(1);
    for register in [
        AP1R1,
        reg(3, 0, 12, 8, 5),
        reg(3, 4, 12, 9, 5),
        reg(3, 6, 12, 12, 4),
        0,
    ] {
        assert_eq!(rig.gic.sysreg_read(0, register), None);
        assert_eq!(rig.gic.sysreg_write(0, register, 0), None);
    }
    for write_only in [EOIR0, EOIR1, DIR, SGI1R, SGI0R] {
        assert_eq!(rig.gic.sysreg_read(0, write_only), None);
    }
    for read_only in [IAR0, IAR1, HPPIR0, HPPIR1, RPR] {
        assert_eq!(rig.gic.sysreg_write(0, read_only, 0), None);
    }
    assert_eq!(rig.gic.sysreg_read(1, PMR), None, "no such CPU");
}

#[test]
fn level_spi_stays_pending_until_the_device_lets_go() {
    let rig = Rig::booted(1);
    rig.enable(40);
    let line = rig.gic.spi(40);
    let ispendr = GICD_ISPENDR + 4;

    line.set(true);
    assert!(rig.gic.irq(0));
    assert_eq!(rig.get(0, HPPIR1), 40);
    assert_eq!(rig.get(0, IAR1), 40);
    assert!(!rig.gic.irq(0), "active and pending is not signalled");
    assert_eq!(read32(&rig.dist, ispendr), 1 << 8, "still pending by level");
    assert_eq!(read32(&rig.dist, GICD_ISACTIVER + 4), 1 << 8);
    assert_eq!(rig.get(0, RPR), u64::from(DEF_PRI));

    rig.set(0, EOIR1, 40);
    assert!(rig.gic.irq(0), "the level pends it again");
    assert_eq!(rig.get(0, RPR), 0xff);

    assert_eq!(rig.get(0, IAR1), 40);
    line.set(false);
    rig.set(0, EOIR1, 40);
    assert!(!rig.gic.irq(0));
    assert_eq!(rig.get(0, IAR1), SPURIOUS);
    assert_eq!(read32(&rig.dist, ispendr), 0);
}

#[test]
fn edge_spi_remembers_one_edge() {
    let rig = Rig::booted(1);
    rig.set_edge(41);
    rig.enable(41);
    let line = rig.gic.spi(41);

    line.pulse();
    line.pulse();
    assert_eq!(rig.get(0, IAR1), 41);
    // An edge while active pends it again.
    line.pulse();
    assert!(!rig.gic.irq(0));
    rig.set(0, EOIR1, 41);
    assert_eq!(rig.get(0, IAR1), 41);
    rig.set(0, EOIR1, 41);
    assert_eq!(rig.get(0, IAR1), SPURIOUS);

    // A line that stays high is one edge only.
    line.set(true);
    line.set(true);
    assert_eq!(rig.get(0, IAR1), 41);
    rig.set(0, EOIR1, 41);
    assert_eq!(rig.get(0, IAR1), SPURIOUS);
}

#[test]
fn software_pends_and_unpends() {
    let rig = Rig::booted(1);
    rig.enable(50);
    write32(&rig.dist, GICD_ISPENDR + 4, 1 << 18);
    assert!(rig.gic.irq(0));
    write32(&rig.dist, GICD_ICPENDR + 4, 1 << 18);
    assert!(!rig.gic.irq(0));

    // Clearing cannot end what the wire asserts.
    let line = rig.gic.spi(50);
    line.set(true);
    write32(&rig.dist, GICD_ICPENDR + 4, 1 << 18);
    assert!(rig.gic.irq(0));
    line.set(false);

    // A level interrupt that software made pending is taken once.
    write32(&rig.dist, GICD_ISPENDR + 4, 1 << 18);
    assert_eq!(rig.get(0, IAR1), 50);
    rig.set(0, EOIR1, 50);
    assert!(!rig.gic.irq(0));
}

#[test]
fn disabled_interrupt_stays_pending_until_it_is_enabled() {
    let rig = Rig::booted(1);
    rig.set_edge(60);
    rig.gic.spi(60).pulse();
    assert!(!rig.gic.irq(0));
    rig.enable(60);
    assert!(rig.gic.irq(0));
    write32(&rig.dist, GICD_ICENABLER + 4, 1 << 28);
    assert!(!rig.gic.irq(0));
}

#[test]
fn ppi_is_private_to_its_cpu() {
    let rig = Rig::booted(2);
    for cpu in 0..2 {
        write32(
            &rig.redist,
            rig.rd(cpu) + SGI_BASE + GICD_ISENABLER,
            1 << 27,
        );
    }
    let line = rig.gic.ppi(1, 27);
    line.set(true);
    assert!(!rig.gic.irq(0));
    assert!(rig.gic.irq(1));
    assert_eq!(rig.get(1, IAR1), 27);
    // The timer's handler masks the timer, which lets go of the line.
    line.set(false);
    rig.set(1, EOIR1, 27);
    assert!(!rig.gic.irq(1));
}

#[test]
fn spi_goes_where_it_is_routed() {
    let rig = Rig::booted(4);
    rig.enable(33);
    let line = rig.gic.spi(33);
    write64(&rig.dist, GICD_IROUTER + 33 * 8, 2);
    line.set(true);
    assert_eq!(
        [0, 1, 2, 3].map(|cpu| rig.gic.irq(cpu)),
        [false, false, true, false]
    );

    write64(&rig.dist, GICD_IROUTER + 33 * 8, 3);
    assert_eq!(
        [0, 1, 2, 3].map(|cpu| rig.gic.irq(cpu)),
        [false, false, false, true]
    );

    // Taken by 3, moved to 1 while active: ends at 3, comes back at 1.
    assert_eq!(rig.get(3, IAR1), 33);
    write64(&rig.dist, GICD_IROUTER + 33 * 8, 1);
    assert!(!rig.gic.irq(1));
    rig.set(3, EOIR1, 33);
    assert!(rig.gic.irq(1));

    // Nobody has that affinity.
    write64(&rig.dist, GICD_IROUTER + 33 * 8, 0x1_0000_0001);
    assert!(!(0..4).any(|cpu| rig.gic.irq(cpu)));
    assert_eq!(read64(&rig.dist, GICD_IROUTER + 33 * 8), 0x1_0000_0001);
    // Interrupt_Routing_Mode is RES0 without 1-of-N.
    write64(&rig.dist, GICD_IROUTER + 33 * 8, 1 << 31);
    assert_eq!(read64(&rig.dist, GICD_IROUTER + 33 * 8), 0);
}

#[test]
fn sgi_reaches_the_listed_cpus() {
    let rig = Rig::booted(4);
    // `gic_send_sgi`: INTID 24.., target list 0..
    rig.set(0, SGI1R, 5 << 24 | 0b1010);
    assert_eq!(
        [0, 1, 2, 3].map(|cpu| rig.gic.irq(cpu)),
        [false, true, false, true]
    );
    assert_eq!(rig.get(1, IAR1), 5);
    rig.set(1, EOIR1, 5);
    assert!(!rig.gic.irq(1));
    assert!(rig.gic.irq(3));

    // To itself is allowed.
    rig.set(2, SGI1R, 7 << 24 | 0b0100);
    assert_eq!(rig.get(2, IAR1), 7);

    // Another cluster is nobody here.
    rig.set(0, SGI1R, 1 << 16 | 6 << 24 | 0b0010);
    assert!(!rig.gic.irq(1));

    // IRM: all but the sender, whatever the list says.
    rig.set(1, SGI1R, 1 << 40 | 9 << 24);
    assert_eq!([rig.gic.irq(0), rig.gic.irq(1)], [true, false]);
    assert_eq!(rig.get(0, IAR1), 9);
}

#[test]
fn more_urgent_interrupt_preempts() {
    let rig = Rig::booted(1);
    for (intid, priority) in [(64, 0xa0), (65, 0x80), (66, 0x20)] {
        rig.set_edge(intid);
        rig.set_priority(intid, priority);
        rig.enable(intid);
    }

    rig.gic.spi(64).pulse();
    assert_eq!(rig.get(0, IAR1), 64);
    rig.gic.spi(66).pulse();
    rig.gic.spi(65).pulse();
    assert!(rig.gic.irq(0));
    assert_eq!(rig.get(0, IAR1), 66, "the most urgent first");
    assert_eq!(rig.get(0, RPR), 0x20);
    assert!(!rig.gic.irq(0), "0x80 does not preempt 0x20");
    assert_eq!(rig.get(0, IAR1), SPURIOUS);
    assert_eq!(
        rig.get(0, HPPIR1),
        65,
        "HPPIR does not look at the running priority"
    );
    assert_eq!(rig.get(0, AP1R0), 1 << (0xa0 >> 3) | 1 << (0x20 >> 3));

    rig.set(0, EOIR1, 66);
    assert_eq!(rig.get(0, RPR), 0xa0);
    assert_eq!(rig.get(0, IAR1), 65);
    rig.set(0, EOIR1, 65);
    rig.set(0, EOIR1, 64);
    assert_eq!((rig.get(0, RPR), rig.get(0, AP1R0)), (0xff, 0));
}

#[test]
fn equal_priority_does_not_preempt_and_lower_intid_goes_first() {
    let rig = Rig::booted(1);
    for intid in [70, 71] {
        rig.enable(intid);
        rig.gic.spi(intid).set(true);
    }
    assert_eq!(rig.get(0, IAR1), 70);
    assert!(!rig.gic.irq(0));
    rig.gic.spi(70).set(false);
    rig.set(0, EOIR1, 70);
    assert_eq!(rig.get(0, IAR1), 71);
}

#[test]
fn priority_mask_holds_back_the_less_urgent() {
    let rig = Rig::booted(1);
    rig.enable(80);
    rig.gic.spi(80).set(true);
    // A priority equal to the mask is held back too.
    rig.set(0, PMR, u64::from(DEF_PRI));
    assert!(!rig.gic.irq(0));
    assert_eq!(rig.get(0, IAR1), SPURIOUS);
    assert_eq!(rig.get(0, HPPIR1), 80);
    rig.set(0, PMR, u64::from(DEF_PRI) + 8);
    assert!(rig.gic.irq(0));
}

#[test]
fn binary_point_groups_priorities() {
    let rig = Rig::booted(1);
    for (intid, priority) in [(64, 0x98), (65, 0x90), (66, 0x70)] {
        rig.set_priority(intid, priority);
        rig.enable(intid);
    }
    // Group priority is bits 7:5: 0x98 and 0x90 are of one group.
    rig.set(0, BPR1, 5);
    rig.gic.spi(64).set(true);
    assert_eq!(rig.get(0, IAR1), 64);
    assert_eq!(rig.get(0, RPR), 0x80);
    rig.gic.spi(65).set(true);
    assert!(!rig.gic.irq(0));
    rig.gic.spi(66).set(true);
    assert_eq!(rig.get(0, IAR1), 66);
    assert_eq!(rig.get(0, RPR), 0x60);
}

#[test]
fn common_binary_point_serves_both_groups() {
    let rig = Rig::booted(1);
    rig.set(0, BPR0, 4);
    rig.set(0, CTLR, 1);
    assert_eq!(rig.get(0, BPR1), 5, "BPR0 plus one");
    rig.set(0, BPR1, 7);
    rig.set(0, CTLR, 0);
    assert_eq!(rig.get(0, BPR1), 3, "the write was ignored");
}

#[test]
fn eoi_mode_1_drops_priority_and_deactivates_apart() {
    let rig = Rig::booted(2);
    rig.set(0, CTLR, 1 << 1);
    assert_ne!(rig.get(0, CTLR) & 1 << 1, 0);
    rig.enable(90);
    rig.enable(91);
    rig.gic.spi(90).set(true);

    assert_eq!(rig.get(0, IAR1), 90);
    rig.set(0, EOIR1, 90);
    assert_eq!(rig.get(0, RPR), 0xff);
    assert!(!rig.gic.irq(0), "still active");
    assert_eq!(read32(&rig.dist, GICD_ISACTIVER + 8), 1 << 26);
    // Another interrupt of the same priority can be taken in between.
    rig.gic.spi(91).set(true);
    assert_eq!(rig.get(0, IAR1), 91);

    // Deactivation may come from another CPU.
    rig.set(1, CTLR, 1 << 1);
    rig.set(1, DIR, 90);
    assert_eq!(read32(&rig.dist, GICD_ISACTIVER + 8), 1 << 27);
    rig.set(0, EOIR1, 91);
    assert!(rig.gic.irq(0), "90 is back");
}

#[test]
fn eoi_of_the_wrong_group_or_of_nothing_is_ignored() {
    let rig = Rig::booted(1);
    rig.enable(40);
    rig.gic.spi(40).set(true);
    rig.set(0, EOIR1, 40);
    assert_eq!(rig.get(0, IAR1), 40);
    rig.set(0, EOIR0, 40);
    rig.set(0, EOIR1, SPURIOUS);
    rig.set(0, EOIR1, 1020);
    rig.set(0, EOIR1, 5000);
    assert_eq!(rig.get(0, RPR), u64::from(DEF_PRI));
    rig.set(0, DIR, 40);
    assert_eq!(
        read32(&rig.dist, GICD_ISACTIVER + 4),
        1 << 8,
        "DIR needs EOImode 1"
    );
    rig.set(0, EOIR1, 40);
    assert_eq!(rig.get(0, RPR), 0xff);
}

#[test]
fn group_0_is_fiq() {
    let rig = Rig::booted(1);
    write32(&rig.dist, GICD_IGROUPR + 4, !(1 << 8));
    rig.enable(40);
    rig.enable(41);
    rig.gic.spi(40).set(true);
    assert!(!rig.gic.fiq(0), "ICC_IGRPEN0_EL1 is clear");
    rig.set(0, IGRPEN0, 1);
    assert_eq!((rig.gic.fiq(0), rig.gic.irq(0)), (true, false));
    assert_eq!(rig.get(0, IAR1), SPURIOUS);
    assert_eq!((rig.get(0, HPPIR0), rig.get(0, HPPIR1)), (40, SPURIOUS));

    // A more urgent one of group 1 takes the CPU's attention.
    rig.set_priority(41, 0x40);
    rig.gic.spi(41).set(true);
    assert_eq!((rig.gic.fiq(0), rig.gic.irq(0)), (false, true));
    assert_eq!(rig.get(0, IAR1), 41);
    rig.gic.spi(41).set(false);
    rig.set(0, EOIR1, 41);
    assert_eq!(rig.get(0, IAR0), 40);
    rig.gic.spi(40).set(false);
    rig.set(0, EOIR0, 40);
    assert_eq!(rig.get(0, RPR), 0xff);

    // The driver's ICC_SGI1R_EL1 reaches an SGI of either group, ICC_SGI0R_EL1 only group 0.
    write32(&rig.redist, SGI_BASE + GICD_IGROUPR, !1);
    rig.set(0, SGI0R, 1 << 24 | 1);
    assert!(!rig.gic.irq(0));
    rig.set(0, SGI0R, 1);
    assert!(rig.gic.fiq(0));
}

#[test]
fn end_of_the_preempted_group_waits_for_the_preempting_one() {
    let rig = Rig::booted(1);
    write32(&rig.dist, GICD_IGROUPR + 4, !(1 << 8));
    rig.set(0, IGRPEN0, 1);
    rig.set_priority(40, 0x40);
    for intid in [40, 41] {
        rig.set_edge(intid);
        rig.enable(intid);
    }
    rig.gic.spi(41).pulse();
    assert_eq!(rig.get(0, IAR1), 41);
    rig.gic.spi(40).pulse();
    assert!(rig.gic.fiq(0));
    assert_eq!(rig.get(0, IAR0), 40);
    assert_eq!(
        (rig.get(0, AP0R0), rig.get(0, AP1R0)),
        (1 << (0x40 >> 3), 1 << (0xa0 >> 3))
    );

    rig.set(0, EOIR1, 41);
    assert_eq!(rig.get(0, RPR), 0x40);
    assert_ne!(rig.get(0, AP1R0), 0);

    rig.set(0, EOIR0, 40);
    rig.set(0, EOIR1, 41);
    assert_eq!(rig.get(0, RPR), 0xff);
    assert_eq!(read32(&rig.dist, GICD_ISACTIVER + 4), 0);
}

#[test]
fn group_enables_are_needed_on_both_sides() {
    let rig = Rig::booted(1);
    rig.enable(40);
    rig.gic.spi(40).set(true);
    rig.set(0, IGRPEN1, 0);
    assert!(!rig.gic.irq(0));
    assert_eq!(rig.get(0, HPPIR1), SPURIOUS);
    rig.set(0, IGRPEN1, 1);
    assert!(rig.gic.irq(0));
    write32(&rig.dist, GICD_CTLR, 0);
    assert!(!rig.gic.irq(0));
    write32(&rig.dist, GICD_CTLR, 2);
    assert!(rig.gic.irq(0));
    // Nothing is forwarded to a processor that sleeps.
    write32(&rig.redist, GICR_WAKER, 2);
    assert_eq!(read32(&rig.redist, GICR_WAKER), 6);
    assert!(!rig.gic.irq(0));
    // CPU_ON: firmware wakes it.
    rig.gic.wake(0);
    assert_eq!(read32(&rig.redist, GICR_WAKER), 0);
    assert!(rig.gic.irq(0));
}

#[test]
fn listener_hears_each_change_of_a_cpus_signals_once() {
    let rig = Rig::booted(2);
    let heard = Rc::new(RefCell::new(Vec::new()));
    let (log, gic) = (heard.clone(), rig.gic.clone());
    // It may look at the GIC.
    rig.gic.on_change(Rc::new(move |cpu| {
        log.borrow_mut().push((cpu, gic.irq(cpu)))
    }));
    rig.enable(40);
    let line = rig.gic.spi(40);

    line.set(true);
    line.set(true);
    rig.set(0, SGI1R, 1 << 24 | 0b10);
    rig.set(0, SGI1R, 2 << 24 | 0b10);
    assert_eq!(rig.get(0, IAR1), 40);

    assert_eq!(*heard.borrow(), [(0, true), (1, true), (0, false)]);
}

#[test]
fn private_registers_of_the_distributor_are_res0() {
    let rig = Rig::booted(1);
    for register in [
        GICD_IGROUPR,
        GICD_ISENABLER,
        GICD_ISPENDR,
        GICD_ISACTIVER,
        GICD_IPRIORITYR,
    ] {
        write32(&rig.dist, register, !0);
        assert_eq!(read32(&rig.dist, register), 0, "{register:#x}");
    }
    // SGIs are always edge-triggered; PPIs may be set.
    assert_eq!(read32(&rig.redist, SGI_BASE + GICD_ICFGR), 0xaaaa_aaaa);
    write32(&rig.redist, SGI_BASE + GICD_ICFGR, 0);
    assert_eq!(read32(&rig.redist, SGI_BASE + GICD_ICFGR), 0xaaaa_aaaa);
    write32(&rig.redist, SGI_BASE + GICD_ICFGR + 4, 0xffff_ffff);
    assert_eq!(read32(&rig.redist, SGI_BASE + GICD_ICFGR + 4), 0xaaaa_aaaa);
}

#[test]
fn priorities_are_bytes_of_five_bits() {
    let rig = Rig::booted(1);
    rig.set_priority(101, 0xff);
    assert_eq!(read32(&rig.dist, GICD_IPRIORITYR + 100), 0xa0a0_f8a0);
    let mut byte = [0];
    rig.dist.read(GICD_IPRIORITYR + 101, &mut byte);
    assert_eq!(byte, [0xf8]);
    rig.redist.write(SGI_BASE + GICD_IPRIORITYR + 30, &[0x47]);
    assert_eq!(
        read32(&rig.redist, SGI_BASE + GICD_IPRIORITYR + 28),
        0xa040_a0a0
    );
    // Elsewhere a byte access does nothing.
    rig.dist.write(GICD_ISENABLER + 4, &[0xff]);
    assert_eq!(read32(&rig.dist, GICD_ISENABLER + 4), 0);
}

#[test]
fn who_looks_sees_what_is_pending_active_and_masked() {
    let rig = Rig::booted(2);
    let line = rig.gic.spi(48);
    rig.gic.ppi(1, 27).set(true);
    line.set(true);
    let cpu0 = rig.gic.cpu_interrupts(0).unwrap();
    let spi = crate::gic::InterruptState {
        intid: 48,
        pending: true,
        active: false,
        enabled: Some(false),
        priority: Some(DEF_PRI),
    };
    assert_eq!(cpu0.in_progress, [spi]);
    assert_eq!(
        (u64::from(cpu0.priority_mask), cpu0.running_priority),
        (DEFAULT_PMR, 0xff)
    );
    assert!(cpu0.group1_enabled && !cpu0.irq);
    // A private interrupt is its own CPU's.
    let cpu1 = rig.gic.cpu_interrupts(1).unwrap();
    assert_eq!(
        cpu1.in_progress
            .iter()
            .map(|it| it.intid)
            .collect::<Vec<_>>(),
        [27]
    );

    rig.enable(48);
    assert!(
        rig.gic.cpu_interrupts(0).unwrap().irq,
        "looking took nothing"
    );
    assert_eq!(rig.get(0, IAR1), 48);
    let cpu0 = rig.gic.cpu_interrupts(0).unwrap();
    let [spi] = cpu0.in_progress[..] else {
        panic!("{cpu0:?}");
    };
    assert!(spi.active && spi.pending, "its level is still high");
    assert_eq!(cpu0.running_priority, DEF_PRI);
    assert!(rig.gic.cpu_interrupts(2).is_none());
}
