//! The blob is read back by a reader of the format's own (Devicetree Specification, *Flattened
//! Devicetree (DTB) Format*) and compared with the bindings; `dtc`, where it is installed, says
//! whether it finds anything unusual.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

/// Properties by node path and name.
type Tree = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

fn word(blob: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(blob[at..at + 4].try_into().unwrap())
}

fn text(blob: &[u8], at: usize) -> String {
    let bytes = blob[at..]
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8(bytes).unwrap()
}

fn read(blob: &[u8]) -> Tree {
    assert_eq!(word(blob, 0), 0xd00d_feed);
    assert_eq!(word(blob, 4) as usize, blob.len());
    assert_eq!(word(blob, 20), 17, "version");
    let (mut at, strings) = (word(blob, 8) as usize, word(blob, 12) as usize);
    let (mut tree, mut path) = (Tree::new(), Vec::new());
    loop {
        let token = word(blob, at);
        at += 4;
        match token {
            1 => {
                let name = text(blob, at);
                at = (at + name.len() + 1).next_multiple_of(4);
                path.push(name);
                let before = tree.insert(path.join("/"), BTreeMap::new());
                assert!(before.is_none(), "{path:?} is there twice");
            }
            2 => {
                path.pop().unwrap();
            }
            3 => {
                let (length, name) = (word(blob, at) as usize, word(blob, at + 4) as usize);
                let value = blob[at + 8..at + 8 + length].to_vec();
                let node = tree.get_mut(&path.join("/")).unwrap();
                node.insert(text(blob, strings + name), value);
                at = (at + 8 + length).next_multiple_of(4);
            }
            9 => break,
            other => panic!("token {other}"),
        }
    }
    assert!(path.is_empty());
    tree
}

fn board() -> Board {
    let mut board = Board::new(4, 1 << 30, 2);
    board.bootargs = "console=ttyS0 quiet".into();
    board.initrd = Some(0x48c0_0000..0x48d2_3456);
    board.rng_seed = Some([0x5a; 32]);
    board.kaslr_seed = Some(0x0123_4567_89ab_cdef);
    board
}

fn tree(board: &Board) -> Tree {
    read(&board.flatten().unwrap())
}

fn cells(tree: &Tree, node: &str, property: &str) -> Vec<u32> {
    let value = &tree[node][property];
    assert_eq!(value.len() % 4, 0);
    value.chunks(4).map(|cell| word(cell, 0)).collect()
}

fn string(tree: &Tree, node: &str, property: &str) -> String {
    let value = tree[node][property]
        .strip_suffix(b"\0")
        .expect("a string ends with NUL");
    String::from_utf8(value.to_vec())
        .unwrap()
        .replace('\0', " ")
}

#[test]
fn the_root_names_the_machine_and_its_interrupt_controller() {
    let tree = tree(&board());
    assert_eq!(cells(&tree, "", "#address-cells"), [2]);
    assert_eq!(cells(&tree, "", "#size-cells"), [2]);
    let gic = "/interrupt-controller@8000000";
    assert_eq!(
        cells(&tree, "", "interrupt-parent"),
        cells(&tree, gic, "phandle")
    );
    assert_eq!(string(&tree, gic, "compatible"), "arm,gic-v3");
    assert_eq!(cells(&tree, gic, "#interrupt-cells"), [3]);
    assert_eq!(
        cells(&tree, gic, "reg"),
        [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x8_0000]
    );
    let its = format!("{gic}/msi-controller@8080000");
    assert_eq!(string(&tree, &its, "compatible"), "arm,gic-v3-its");
    assert_eq!(cells(&tree, &its, "reg"), [0, 0x0808_0000, 0, 0x2_0000]);
    assert_eq!(cells(&tree, &its, "#msi-cells"), [1]);
    assert!(tree[&its].contains_key("msi-controller") && tree[gic].contains_key("ranges"));
}

#[test]
fn chosen_carries_what_the_kernel_is_told() {
    let tree = tree(&board());
    assert_eq!(string(&tree, "/chosen", "bootargs"), "console=ttyS0 quiet");
    assert_eq!(
        string(&tree, "/chosen", "stdout-path"),
        "/serial@9000000:115200n8"
    );
    assert_eq!(
        cells(&tree, "/chosen", "linux,initrd-start"),
        [0, 0x48c0_0000]
    );
    assert_eq!(
        cells(&tree, "/chosen", "linux,initrd-end"),
        [0, 0x48d2_3456]
    );
    assert_eq!(tree["/chosen"]["rng-seed"], [0x5a; 32]);
    assert_eq!(
        cells(&tree, "/chosen", "kaslr-seed"),
        [0x0123_4567, 0x89ab_cdef]
    );
    let bare = self::tree(&Board::new(1, 64 << 20, 1));
    for absent in ["linux,initrd-start", "rng-seed", "kaslr-seed"] {
        assert!(!bare["/chosen"].contains_key(absent));
    }
}

#[test]
fn cpus_and_memory_belong_to_their_nodes() {
    let tree = tree(&board());
    assert_eq!(cells(&tree, "/cpus", "#address-cells"), [1]);
    assert_eq!(cells(&tree, "/cpus", "#size-cells"), [0]);
    for (cpu, node) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
        let path = format!("/cpus/cpu@{cpu}");
        assert_eq!(string(&tree, &path, "device_type"), "cpu");
        assert_eq!(string(&tree, &path, "compatible"), "arm,armv8");
        assert_eq!(string(&tree, &path, "enable-method"), "psci");
        assert_eq!(cells(&tree, &path, "reg"), [cpu]);
        assert_eq!(cells(&tree, &path, "numa-node-id"), [node]);
    }
    for (base, node) in [(0x4000_0000, 0), (0x6000_0000, 1)] {
        let path = format!("/memory@{base:x}");
        assert_eq!(string(&tree, &path, "device_type"), "memory");
        assert_eq!(cells(&tree, &path, "reg"), [0, base, 0, 0x2000_0000]);
        assert_eq!(cells(&tree, &path, "numa-node-id"), [node]);
    }
    assert_eq!(
        string(&tree, "/distance-map", "compatible"),
        "numa-distance-map-v1"
    );
    assert_eq!(
        cells(&tree, "/distance-map", "distance-matrix"),
        [0, 0, 10, 0, 1, 20, 1, 0, 20, 1, 1, 10]
    );
}

#[test]
fn one_node_is_told_without_distances() {
    let tree = tree(&Board::new(1, 0x2000_0000, 1));
    assert!(!tree.contains_key("/distance-map"));
    assert_eq!(cells(&tree, "/cpus/cpu@0", "numa-node-id"), [0]);
    assert_eq!(cells(&tree, "/memory@40000000", "numa-node-id"), [0]);
}

#[test]
fn firmware_and_timer_are_those_of_an_armv8_machine() {
    let mut board = board();
    let tree = tree(&board);
    assert_eq!(
        string(&tree, "/psci", "compatible"),
        "arm,psci-1.0 arm,psci-0.2"
    );
    assert_eq!(string(&tree, "/psci", "method"), "hvc");
    assert_eq!(string(&tree, "/timer", "compatible"), "arm,armv8-timer");
    assert_eq!(
        cells(&tree, "/timer", "interrupts"),
        [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4],
        "secure, non-secure, virtual, hypervisor; level"
    );
    board.psci = PsciMethod::Smc;
    assert_eq!(string(&self::tree(&board), "/psci", "method"), "smc");
}

#[test]
fn serial_ports_and_clock_are_found_by_their_drivers() {
    let tree = tree(&board());
    for (node, base, spi) in [
        ("/serial@9000000", 0x0900_0000, 1),
        ("/serial@9040000", 0x0904_0000, 3),
    ] {
        assert_eq!(string(&tree, node, "compatible"), "ns16550a");
        assert_eq!(cells(&tree, node, "reg"), [0, base, 0, 0x1000]);
        assert_eq!(cells(&tree, node, "interrupts"), [0, spi, 4]);
        assert_eq!(cells(&tree, node, "clock-frequency"), [1_843_200]);
        assert_eq!(cells(&tree, node, "reg-shift"), [0]);
    }
    assert_eq!(string(&tree, "/aliases", "serial0"), "/serial@9000000");
    assert_eq!(string(&tree, "/aliases", "serial1"), "/serial@9040000");
    let rtc = "/rtc@9010000";
    assert_eq!(string(&tree, rtc, "compatible"), "arm,pl031 arm,primecell");
    assert_eq!(cells(&tree, rtc, "interrupts"), [0, 2, 4]);
    assert_eq!(string(&tree, rtc, "clock-names"), "apb_pclk");
    assert_eq!(
        cells(&tree, rtc, "clocks"),
        cells(&tree, "/apb-pclk", "phandle")
    );
    assert_eq!(string(&tree, "/apb-pclk", "compatible"), "fixed-clock");
    assert_eq!(cells(&tree, "/apb-pclk", "#clock-cells"), [0]);
}

#[test]
fn the_smmu_has_edge_interrupts_by_name() {
    let mut board = board();
    let tree = tree(&board);
    let smmu = "/iommu@9050000";
    assert_eq!(string(&tree, smmu, "compatible"), "arm,smmu-v3");
    assert_eq!(cells(&tree, smmu, "reg"), [0, 0x0905_0000, 0, 0x2_0000]);
    assert_eq!(
        string(&tree, smmu, "interrupt-names"),
        "eventq gerror cmdq-sync"
    );
    assert_eq!(
        cells(&tree, smmu, "interrupts"),
        [0, 16, 1, 0, 19, 1, 0, 18, 1]
    );
    assert_eq!(cells(&tree, smmu, "#iommu-cells"), [1]);
    assert!(tree[smmu].contains_key("dma-coherent"));
    assert!(!tree[smmu].contains_key("msi-parent"));
    let mut own = board.smmu.unwrap();
    own.priq_spi = Some(17);
    own.msi_device_id = Some(0x1_0000);
    board.smmu = Some(own);
    let tree = self::tree(&board);
    assert_eq!(
        string(&tree, smmu, "interrupt-names"),
        "eventq gerror priq cmdq-sync"
    );
    assert_eq!(cells(&tree, smmu, "msi-parent")[1], 0x1_0000);
}

#[test]
fn ats_is_supported_where_asked_for() {
    let mut board = board();
    let pcie = "/pcie@4010000000";
    assert!(!tree(&board)[pcie].contains_key("ats-supported"));
    board.pcie.as_mut().unwrap().ats = true;
    let property = &tree(&board)[pcie]["ats-supported"];
    assert!(property.is_empty(), "a flag has no value");
    // Without an IOMMU it would mean nothing.
    board.smmu = None;
    assert!(!tree(&board)[pcie].contains_key("ats-supported"));
}

#[test]
fn the_host_bridge_maps_requester_ids_one_to_one() {
    let mut board = board();
    let tree = tree(&board);
    let pcie = "/pcie@4010000000";
    assert_eq!(string(&tree, pcie, "compatible"), "pci-host-ecam-generic");
    assert_eq!(string(&tree, pcie, "device_type"), "pci");
    assert_eq!(cells(&tree, pcie, "#address-cells"), [3]);
    assert_eq!(cells(&tree, pcie, "#size-cells"), [2]);
    assert_eq!(
        cells(&tree, pcie, "reg"),
        [0x40, 0x1000_0000, 0, 0x1000_0000]
    );
    assert_eq!(cells(&tree, pcie, "bus-range"), [0, 255]);
    assert_eq!(
        cells(&tree, pcie, "ranges"),
        [
            [0x0200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000],
            [0x0300_0000, 0x80, 0, 0x80, 0, 0, 0x8000_0000],
        ]
        .concat()
    );
    let smmu = cells(&tree, "/iommu@9050000", "phandle")[0];
    let its = cells(
        &tree,
        "/interrupt-controller@8000000/msi-controller@8080000",
        "phandle",
    )[0];
    assert_eq!(cells(&tree, pcie, "iommu-map"), [0, smmu, 0, 0x1_0000]);
    assert_eq!(cells(&tree, pcie, "msi-map"), [0, its, 0, 0x1_0000]);
    assert_eq!(cells(&tree, pcie, "numa-node-id"), [0]);
    assert!(tree[pcie].contains_key("dma-coherent"));
    board.smmu = None;
    board.gic.its = None;
    let tree = self::tree(&board);
    assert!(!tree[pcie].contains_key("iommu-map") && !tree[pcie].contains_key("msi-map"));
}

#[test]
fn a_function_that_can_stall_has_a_node_at_its_place() {
    let mut board = board();
    board.pci_functions = vec![
        PciFunction {
            device: 2,
            vendor_id: 0x5342,
            device_id: 0x7e57,
            can_stall: true,
        },
        PciFunction {
            device: 3,
            vendor_id: 0x1234,
            device_id: 0xabcd,
            can_stall: false,
        },
    ];
    let tree = tree(&board);
    let first = "/pcie@4010000000/accelerator@2,0";
    assert_eq!(string(&tree, first, "compatible"), "pci5342,7e57");
    // Bits 15:11 of the first cell are the device (IEEE 1275 PCI bus binding, *Address format*).
    assert_eq!(cells(&tree, first, "reg"), [0x1000, 0, 0, 0, 0]);
    assert!(tree[first].contains_key("dma-can-stall"));
    let second = "/pcie@4010000000/accelerator@3,0";
    assert_eq!(cells(&tree, second, "reg"), [0x1800, 0, 0, 0, 0]);
    assert!(!tree[second].contains_key("dma-can-stall"));
}

#[test]
fn nothing_in_the_memory_map_overlaps() {
    let board = Board::new(8, layout::RAM_BYTES_MAX, 4);
    let (gic, pcie) = (board.gic, board.pcie.unwrap());
    let mut regions = vec![gic.distributor, gic.redistributors, gic.its.unwrap()];
    regions.extend([
        pcie.ecam,
        pcie.memory_32,
        pcie.memory_64,
        board.smmu.unwrap().region,
    ]);
    regions.extend(
        board
            .serials
            .iter()
            .chain(&board.rtc)
            .map(|device| device.region),
    );
    regions.extend(board.memory.iter().map(|memory| memory.region));
    regions.sort_by_key(|region| region.base);
    for pair in regions.windows(2) {
        assert!(pair[0].end() <= pair[1].base, "{pair:x?}");
    }
    assert!(
        regions.last().unwrap().end() <= 1 << 40,
        "40 bits reach all of it"
    );
}

#[test]
fn memory_is_spread_without_a_gap() {
    for (bytes, nodes) in [
        (1 << 30, 1),
        (1 << 30, 3),
        (100 << 20, 2),
        (2 << 20, 4),
        (5 << 20, 2),
    ] {
        let memory = Board::new(1, bytes, nodes).memory;
        let mut next = layout::RAM_BASE;
        for part in &memory {
            assert!(part.region.bytes > 0 && part.region.base == next);
            next = part.region.end();
        }
        assert_eq!(next, layout::RAM_BASE + bytes);
    }
}

#[test]
fn a_nul_in_the_command_line_is_the_users_mistake() {
    let mut board = board();
    board.bootargs = "quiet\0".into();
    let error = board.flatten().unwrap_err().to_string();
    assert!(error.contains("command line"), "{error}");
}

#[test]
fn the_same_board_is_the_same_blob() {
    assert_eq!(board().flatten().unwrap(), board().flatten().unwrap());
}

fn with_a_function() -> Board {
    Board {
        pci_functions: vec![PciFunction {
            device: 2,
            vendor_id: 0x5342,
            device_id: 0x7e57,
            can_stall: true,
        }],
        ..board()
    }
}

#[test]
fn dtc_finds_nothing_unusual() {
    let child = Command::new("dtc")
        .args(["-I", "dtb", "-O", "dts", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: dtc is not installed (Debian package device-tree-compiler)");
        return;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&with_a_function().flatten().unwrap())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let (source, complaints) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(
        output.status.success() && complaints.is_empty(),
        "{complaints}\n{source}"
    );
    for line in [
        "compatible = \"arm,smmu-v3\";",
        "reg = <0x40 0x10000000 0x00 0x10000000>;",
        "linux,initrd-start = <0x00 0x48c00000>;",
    ] {
        assert!(source.contains(line), "no `{line}` in\n{source}");
    }
}
