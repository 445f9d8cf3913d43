//! Which process an address space is, by the guest kernel's own list of tasks.
//!
//! Nothing is taken from the version. Where the fields of `task_struct` are is found by what must be
//! true of the tasks that every Linux has: `init_task`, which is its own parent (`init/init_task.c`), and
//! its children, process 1 and `kthreadd`, in this order (`rest_init` in `init/main.c`). In `mm_struct`, `pgd` is
//! where `init_mm` has `swapper_pg_dir` (`mm/init-mm.c`). The order of fields that belong together was read
//! in Linux 6.1, 6.12 and 7.3: `include/linux/sched.h`. If anything is otherwise, nothing is known.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;

use stallbox_devices::GuestRam;

use super::symbols::Symbols;
use crate::stage1::{Half, read64};

/// Larger than `task_struct` and, as far as `pgd`, `mm_struct`.
const TASK_BYTES: u64 = 16 << 10;
const MM_BYTES: u64 = 1 << 10;
/// Words of `pushable_tasks` and `pushable_dl_tasks`, which may be between `tasks` and `mm`, and more.
const TASKS_TO_MM: u64 = 40;
/// `TASK_COMM_LEN`.
const COMM_BYTES: u64 = 16;
/// A list that has more has no end.
const TASKS_MAX: usize = 1 << 15;
/// Searches in vain; then the kernel is not known.
const SEARCHES_MAX: u32 = 64;

/// The tasks of one kernel.
#[derive(Debug)]
pub(super) struct Tasks {
    /// Symbols.
    init_task: u64,
    init_mm: u64,
    swapper_pg_dir: u64,
    layout: OnceCell<Layout>,
    searches: Cell<u32>,
    /// Where a process was found before, by its first table.
    found: RefCell<BTreeMap<u64, u64>>,
}

/// Where the fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    tasks: u64,
    mm: u64,
    /// `pid`, and in the upper half of the same word `tgid`.
    pid: u64,
    comm: u64,
    pgd: u64,
}

/// The kernel's half of the address space, and what is there.
struct Kernel<'a> {
    ram: &'a GuestRam,
    half: &'a Half,
}

impl Kernel<'_> {
    fn word(&self, at: u64) -> Option<u64> {
        read64(self.ram, self.half.translate(self.ram, at)?)
    }
}

impl Tasks {
    /// `None` if the symbols have not what is needed.
    pub(super) fn new(symbols: &Symbols) -> Option<Tasks> {
        Some(Tasks {
            init_task: symbols.address("init_task")?,
            init_mm: symbols.address("init_mm")?,
            swapper_pg_dir: symbols.address("swapper_pg_dir")?,
            layout: OnceCell::new(),
            searches: Cell::new(0),
            found: RefCell::default(),
        })
    }

    /// The process whose tables for the lower half begin at `ttb0`, with its name and number.
    pub(super) fn owner(&self, ram: &GuestRam, half: &Half, ttb0: u64) -> Option<String> {
        let kernel = Kernel { ram, half };
        let layout = self.layout(&kernel)?;
        let known = self.found.borrow().get(&ttb0).copied();
        let is_it = |task: &u64| layout.table(&kernel, *task) == Some(ttb0);
        let task = known
            .filter(is_it)
            .or_else(|| self.all(&kernel, layout).find(is_it))?;
        self.found.borrow_mut().insert(ttb0, task);
        layout.process(&kernel, task)
    }

    /// The process of the task at `task`.
    pub(super) fn process(&self, ram: &GuestRam, half: &Half, task: u64) -> Option<String> {
        self.layout.get()?.process(&Kernel { ram, half }, task)
    }

    fn layout(&self, kernel: &Kernel<'_>) -> Option<&Layout> {
        if self.layout.get().is_none() && self.searches.get() < SEARCHES_MAX {
            self.searches.set(self.searches.get() + 1);
            if let Some(layout) = self.find(kernel) {
                let _ = self.layout.set(layout);
            }
        }
        self.layout.get()
    }

    /// The leaders of all processes.
    fn all(&self, kernel: &Kernel<'_>, layout: &Layout) -> impl Iterator<Item = u64> {
        let (head, tasks) = (self.init_task.wrapping_add(layout.tasks), layout.tasks);
        let next = move |at: &u64| kernel.word(*at);
        std::iter::successors(next(&head), next)
            .take_while(move |at| *at != head)
            .take(TASKS_MAX)
            .map(move |at| at.wrapping_sub(tasks))
    }

    fn find(&self, kernel: &Kernel<'_>) -> Option<Layout> {
        let init = self.init_task;
        let word = |task: u64, offset: u64| kernel.word(task.wrapping_add(offset));
        let offsets = || (0..TASK_BYTES).step_by(8);
        // real_parent, parent, children, sibling, group_leader.
        let family = offsets().find(|at| {
            let sibling = at + 32;
            let own = Some(init.wrapping_add(sibling));
            [*at, at + 8, at + 48]
                .iter()
                .all(|it| word(init, *it) == Some(init))
                && word(init, sibling) == own
                && word(init, sibling + 8) == own
        })?;
        let (children, sibling) = (family + 16, family + 32);
        let first = word(init, children)?.wrapping_sub(sibling);
        let second = word(first, sibling)?.wrapping_sub(sibling);
        // Before them, with or without stack_canary between.
        let numbers = |number: u64| number << 32 | number;
        let pid = [8, 16].into_iter().find_map(|back| {
            let at = family.checked_sub(back)?;
            let right = word(first, at)? == numbers(1) && word(second, at)? == numbers(2);
            right.then_some(at)
        })?;
        let comm = offsets().find(|at| {
            let begins = |task, name: &[u8]| {
                word(task, *at).is_some_and(|word| word.to_le_bytes().starts_with(name))
            };
            begins(init, b"swapper") && begins(second, b"kthreadd")
        })?;
        let tasks = offsets().find(|at| {
            word(init, *at) == Some(first.wrapping_add(*at))
                && word(first, at + 8) == Some(init.wrapping_add(*at))
        })?;
        let pgd = (0..MM_BYTES)
            .step_by(8)
            .find(|at| word(self.init_mm, *at) == Some(self.swapper_pg_dir))?;
        // mm and active_mm: the same in a process, and a thread of the kernel has no mm.
        let behind = (tasks + 16..).step_by(8).take(TASKS_TO_MM as usize);
        let mm = { behind }.find(|at| {
            let layout = Layout {
                tasks,
                mm: *at,
                pid,
                comm,
                pgd,
            };
            word(first, *at) == word(first, at + 8)
                && word(second, *at) == Some(0)
                && layout.table(kernel, first).is_some()
        })?;
        Some(Layout {
            tasks,
            mm,
            pid,
            comm,
            pgd,
        })
    }
}

impl Layout {
    /// The physical address of a process's first table.
    fn table(&self, kernel: &Kernel<'_>, task: u64) -> Option<u64> {
        let mm = kernel.word(task.wrapping_add(self.mm))?;
        let pgd = kernel.word(mm.wrapping_add(self.pgd)).filter(|_| mm != 0)?;
        kernel.half.translate(kernel.ram, pgd)
    }

    /// What the kernel calls the process: `comm`, and the number of its leader.
    fn process(&self, kernel: &Kernel<'_>, task: u64) -> Option<String> {
        let numbers = kernel.word(task.wrapping_add(self.pid))?;
        let mut comm = Vec::new();
        for at in (0..COMM_BYTES).step_by(8) {
            let word = kernel.word(task.wrapping_add(self.comm + at))?;
            comm.extend(word.to_le_bytes());
        }
        let end = comm.iter().position(|byte| *byte == 0)?;
        // Whoever runs in the guest chooses the name.
        let name = String::from_utf8_lossy(&comm[..end]);
        Some(format!("{} (pid {})", name.escape_debug(), numbers >> 32))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;

    const RAM: u64 = 0x4000_0000;
    /// A block of 1 GiB of the upper half leads to RAM.
    const BASE: u64 = 0xffff_8000_0000_0000;
    const INIT_TASK: u64 = BASE + 0x1_0000;
    const INIT_MM: u64 = BASE + 0x2_0000;
    const SWAPPER: u64 = BASE + 0x3_0000;

    /// A kernel with three tasks and a process; `canary` is CONFIG_STACKPROTECTOR.
    struct Guest {
        ram: GuestRam,
        half: Half,
        canary: u64,
    }

    /// The tasks: init_task, init, kthreadd, a process and its memory.
    const TASKS: [u64; 4] = [INIT_TASK, BASE + 0x4_0000, BASE + 0x5_0000, BASE + 0x6_0000];

    impl Guest {
        fn new(canary: u64) -> Guest {
            let ranges = [(GuestAddress(RAM), 1 << 20)];
            let ram: GuestRam = Rc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
            let table = RAM + 0xf_0000;
            let store = |at: u64, word: u64| ram.write_obj(word, GuestAddress(at)).unwrap();
            // Bits 47:39 are 0x100.
            store(table + 8 * 0x100, (table + 0x1000) | 3);
            store(table + 0x1000, RAM | 0x701);
            let half = Half::upper(table, 2 << 30 | 16 << 16);
            let guest = Guest { ram, half, canary };
            guest.fill();
            guest
        }

        fn store(&self, at: u64, word: u64) {
            let at = GuestAddress(at - BASE + RAM);
            self.ram.write_obj(word, at).unwrap();
        }

        /// As `include/linux/sched.h` orders the fields, with others between.
        fn fill(&self) {
            let (tasks, mm, pid, comm) = (0x480, 0x4d0, 0x5f0, 0x7b0);
            let family = pid + 8 + self.canary;
            let link = |offset: u64, ring: &[u64]| {
                for (index, at) in ring.iter().enumerate() {
                    let next = ring[(index + 1) % ring.len()];
                    self.store(at + offset, next + offset);
                    self.store(next + offset + 8, at + offset);
                }
            };
            link(tasks, &TASKS);
            let names = ["swapper/0", "init", "kthreadd", "a\tlong name, cu"];
            for (number, (task, name)) in TASKS.iter().zip(names).enumerate() {
                let number = number as u64;
                self.store(task + pid, number << 32 | number);
                let mut bytes = [0; 16];
                bytes[..name.len()].copy_from_slice(name.as_bytes());
                let at = GuestAddress(task + comm - BASE + RAM);
                self.ram.write_slice(&bytes, at).unwrap();
                self.store(task + family, TASKS[0]);
                self.store(task + family + 8, TASKS[0]);
                self.store(task + family + 48, *task);
                // pushable_tasks of a task that is not in the tree.
                self.store(task + tasks + 24, task + tasks + 24);
                self.store(task + tasks + 32, task + tasks + 24);
            }
            let (children, sibling) = (family + 16, family + 32);
            self.store(TASKS[0] + sibling, TASKS[0] + sibling);
            self.store(TASKS[0] + sibling + 8, TASKS[0] + sibling);
            self.store(TASKS[0] + children, TASKS[1] + sibling);
            self.store(TASKS[1] + sibling, TASKS[2] + sibling);
            for (task, own) in [(1, 0x7_0000), (3, 0x8_0000)] {
                self.store(TASKS[task] + mm, BASE + own);
                self.store(TASKS[task] + mm + 8, BASE + own);
                self.store(BASE + own + 0x48, BASE + own + 0x1000);
            }
            self.store(INIT_MM + 0x48, SWAPPER);
        }

        fn tasks(&self) -> Tasks {
            let symbols = format!(
                "{INIT_MM:x} D init_mm\n{INIT_TASK:x} D init_task\n{SWAPPER:x} T swapper_pg_dir\n"
            );
            Tasks::new(&Symbols::of_map(symbols.as_bytes()).unwrap()).unwrap()
        }

        fn owner(&self, tasks: &Tasks, ttb0: u64) -> Option<String> {
            tasks.owner(&self.ram, &self.half, ttb0)
        }
    }

    #[test]
    fn an_address_space_has_the_name_of_its_process() {
        for canary in [0, 8] {
            let guest = Guest::new(canary);
            let tasks = guest.tasks();
            let owner = |ttb0| guest.owner(&tasks, ttb0);
            assert_eq!(owner(RAM + 0x7_1000).unwrap(), "init (pid 1)");
            let name = "a\\tlong name, cu (pid 3)";
            assert_eq!(owner(RAM + 0x8_1000).unwrap(), name);
            assert_eq!(owner(RAM + 0x9_1000), None);
            // It has exec'd, and somebody else has its memory.
            guest.store(TASKS[3] + 0x4d0, BASE + 0x7_0000);
            assert_eq!(owner(RAM + 0x8_1000), None);
        }
    }

    #[test]
    fn a_kernel_that_is_otherwise_is_not_known() {
        let guest = Guest::new(0);
        // A list of tasks that never comes back.
        guest.store(TASKS[2] + 0x480, TASKS[1] + 0x480);
        assert_eq!(guest.owner(&guest.tasks(), RAM + 0x8_1000), None);
        let guest = Guest::new(0);
        guest.store(TASKS[2] + 0x7b0, u64::from_le_bytes(*b"another\0"));
        let tasks = guest.tasks();
        assert_eq!(guest.owner(&tasks, RAM + 0x7_1000), None);
        assert_eq!(tasks.process(&guest.ram, &guest.half, TASKS[1]), None);
    }
}
