//! Translations: found in the TLB, walked, and waited for.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use anyhow::{Result, anyhow, ensure};
use smmu::{SMMU, types as peer};
use stallbox_smmu::{AtsCompletion, PageResponseCode};

use crate::plans::{self, Rules};
use crate::report::Figure;
use crate::series::{Series, pairs, time};
use crate::smmu_rig::{
    PAGES, Rig, frame, page, page_request, transaction, transaction_of, translation_request,
};

const NAME: &str = "smmu";
const PEER: &str = "smmu 1.8.0";

/// Pages that all caches hold.
const HOT_PAGES: u64 = 256;
/// More than the TLB holds: each of them is gone when its turn comes again.
const COLD_PAGES: u64 = 16 * 1024;
const HITS: u64 = 2_000_000;
const WALKS: u64 = 10 * COLD_PAGES;
const TURNS: u32 = 200_000;
const FAULTS: u64 = 64 * 1024;

/// Measures.
pub(crate) fn run(rounds: u32) -> Result<Vec<Figure>> {
    Ok(vec![
        hits("TLB hit, one page", 1, rounds)?.aim("< 10 ns"),
        hits("TLB hit, 256 pages in turn", HOT_PAGES, rounds)?.aim("< 10 ns"),
        awaited_hits("TLB hit, awaited by a device's task", &Rig::new()?, rounds)?,
        awaited_hits("TLB hit, both stages, awaited", &Rig::nested()?, rounds)?,
        walks("walk of 4 levels, warm", &Rig::new()?, rounds)?.aim("< 100 ns"),
        walks("walk of both stages, warm", &Rig::nested()?, rounds)?,
        processes(1, rounds)?,
        processes(100, rounds)?,
        processes(10_000, rounds)?,
        faults(rounds)?,
        page_requests(rounds)?,
        plans::question(
            "question to a plan of 1 rule, no match",
            1,
            Rules::Here,
            rounds,
        )?,
        plans::question("same, 1,000 rules at this point", 1000, Rules::Here, rounds)?,
        plans::question(
            "same, 1,000 rules elsewhere",
            1000,
            Rules::Elsewhere,
            rounds,
        )?,
    ])
}

fn ns_each(took: std::time::Duration, count: u64) -> f64 {
    took.as_secs_f64() * 1e9 / count as f64
}

/// A hit by the function that answers at once, as the peer's does.
fn hits(name: &str, pages: u64, rounds: u32) -> Result<Figure> {
    let rig = Rig::new()?;
    (0..pages).for_each(|index| rig.map(index));
    warm_up(&rig, pages);
    let peer = Peer::new(pages)?;

    let stallbox = || {
        let before = rig.smmu.counters().tlb_hits;
        let (took, ()) = time(|| {
            for turn in 0..HITS {
                let asked = transaction(page(turn % pages) | 0x40);
                black_box(rig.smmu.try_translate(black_box(&asked)));
            }
        });
        ensure!(
            rig.smmu.counters().tlb_hits - before == HITS,
            "not all were hits"
        );
        Ok(ns_each(took, HITS))
    };
    let (ours, theirs) = pairs(rounds, stallbox, || peer.hits(pages))?;
    let (ours, theirs) = (Series::from_iter(ours), Series::from_iter(theirs));
    Ok(Figure::new(NAME, name, "ns", &ours).beside(PEER, &theirs, &theirs.over(&ours)))
}

/// A hit as devices ask for it: a future that is done when it is first polled.
fn awaited_hits(name: &str, rig: &Rig, rounds: u32) -> Result<Figure> {
    (0..HOT_PAGES).for_each(|index| rig.map(index));
    warm_up(rig, HOT_PAGES);
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let before = rig.smmu.counters().tlb_hits;
        let took = in_task(rig, HITS, HOT_PAGES)?;
        ensure!(
            rig.smmu.counters().tlb_hits - before == HITS,
            "not all were hits"
        );
        taken.push(ns_each(took, HITS));
    }
    Ok(Figure::new(NAME, name, "ns", &taken.into_iter().collect()))
}

/// A miss of the TLB that reads four descriptors of stage 1, and of stage 2 what the TLB has not.
/// Configuration is cached.
fn walks(name: &str, rig: &Rig, rounds: u32) -> Result<Figure> {
    (0..COLD_PAGES).for_each(|index| rig.map(index));
    warm_up(rig, COLD_PAGES);
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let before = rig.smmu.counters();
        let took = in_task(rig, WALKS, COLD_PAGES)?;
        let after = rig.smmu.counters();
        ensure!(
            after.tlb_misses - before.tlb_misses == WALKS,
            "not all were misses"
        );
        ensure!(
            after.walk_steps - before.walk_steps >= 4 * WALKS,
            "not all had four levels"
        );
        taken.push(ns_each(took, WALKS));
    }
    Ok(Figure::new(NAME, name, "ns", &taken.into_iter().collect()))
}

/// Processes that take turns, each with its own ASID and one page: what context descriptors and
/// translations are found where depends on how many there are.
fn processes(count: u32, rounds: u32) -> Result<Figure> {
    let rig = Rig::with_processes(count)?;
    rig.map(0);
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let smmu = rig.smmu.clone();
        let wrong = Rc::new(Cell::new(None));
        let result = wrong.clone();
        rig.timeline.spawn(async move {
            let mut wrong = 0;
            for turn in 0..TURNS {
                let asked = transaction_of(turn % count, page(0));
                let translation = smmu.translate(asked).await;
                if translation.map_or(true, |translation| translation.address != frame(0)) {
                    wrong += 1;
                }
            }
            result.set(Some(wrong));
        });
        let (took, ()) = time(|| rig.timeline.run_ready());
        ensure!(wrong.get() == Some(0), "not all were translated rightly");
        taken.push(ns_each(took, TURNS.into()));
    }
    Ok(Figure::new(
        NAME,
        format!("translation, {count} PASIDs in turn"),
        "ns",
        &taken.into_iter().collect(),
    ))
}

fn warm_up(rig: &Rig, pages: u64) {
    in_task(rig, pages, pages).expect("mapped pages are translated");
}

/// One task that translates pages in turn, as a device's would.
fn in_task(rig: &Rig, count: u64, pages: u64) -> Result<std::time::Duration> {
    let smmu = rig.smmu.clone();
    let sum = Rc::new(Cell::new(None));
    let result = sum.clone();
    rig.timeline.spawn(async move {
        let mut sum = 0_u64;
        for turn in 0..count {
            match smmu.translate(transaction(page(turn % pages))).await {
                Ok(translation) => sum = sum.wrapping_add(translation.address),
                Err(_) => return,
            }
        }
        result.set(Some(sum));
    });
    let (took, ()) = time(|| rig.timeline.run_ready());
    let expected = (0..count).fold(0, |sum: u64, turn| sum.wrapping_add(frame(turn % pages)));
    ensure!(
        sum.get() == Some(expected),
        "not all were translated, or not rightly"
    );
    Ok(took)
}

/// The whole way of a fault in the model: walk, stall, event record; then this driver, which maps
/// the page and queues CMD_RESUME; then the retry, which walks again.
fn faults(rounds: u32) -> Result<Figure> {
    let rig = Rig::new()?;
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let smmu = rig.smmu.clone();
        let done = Rc::new(Cell::new(0));
        let count = done.clone();
        rig.timeline.spawn(async move {
            for index in 0..FAULTS {
                if smmu.translate(transaction(page(index))).await.is_ok() {
                    count.set(count.get() + 1);
                }
            }
        });
        let stalls = rig.smmu.counters().stalls;
        let (took, ()) = time(|| {
            rig.timeline.run_ready();
            while let Some((stag, address)) = rig.stall() {
                rig.map((address - page(0)) >> 12);
                rig.resume(stag);
            }
        });
        ensure!(
            done.get() == FAULTS,
            "{} of {FAULTS} faults were resolved",
            done.get()
        );
        ensure!(
            rig.smmu.counters().stalls - stalls == FAULTS,
            "not all were faults"
        );
        taken.push(ns_each(took, FAULTS));
        (0..FAULTS).for_each(|index| rig.unmap(index));
        rig.invalidate();
    }
    Ok(Figure::new(
        NAME,
        "fault: stall, record, RESUME, retry",
        "ns",
        &taken.into_iter().collect(),
    ))
}

/// The same by a device that asks for pages: a translation request that permits nothing, a page
/// request into its queue; then the driver, which maps the page and queues CMD_PRI_RESP; then the
/// translation request again.
fn page_requests(rounds: u32) -> Result<Figure> {
    let (rig, endpoint) = Rig::with_page_requests()?;
    let mut taken = Vec::new();
    for _ in 0..rounds {
        let (smmu, endpoint) = (rig.smmu.clone(), endpoint.clone());
        let done = Rc::new(Cell::new(0));
        let count = done.clone();
        rig.timeline.spawn(async move {
            for index in 0..FAULTS {
                let asked = translation_request(page(index));
                let permits =
                    |answer| matches!(answer, AtsCompletion::Success(range) if range.write);
                if permits(smmu.translation_request(asked).await) {
                    return;
                }
                smmu.page_request(page_request(page(index)));
                let answered = endpoint.answer().await == PageResponseCode::Success;
                if answered && permits(smmu.translation_request(asked).await) {
                    count.set(count.get() + 1);
                }
            }
        });
        let requests = rig.smmu.counters().page_requests;
        let (took, ()) = time(|| {
            rig.timeline.run_ready();
            while let Some((index, address)) = rig.page_request() {
                rig.map((address - page(0)) >> 12);
                rig.respond(index);
            }
        });
        ensure!(
            done.get() == FAULTS,
            "{} of {FAULTS} page requests were served",
            done.get()
        );
        ensure!(
            rig.smmu.counters().page_requests - requests == FAULTS,
            "not all were page requests"
        );
        taken.push(ns_each(took, FAULTS));
        (0..FAULTS).for_each(|index| rig.unmap(index));
        rig.invalidate();
    }
    Ok(Figure::new(
        NAME,
        "page request: ATS miss, PRI queue, CMD_PRI_RESP, retranslate",
        "ns",
        &taken.into_iter().collect(),
    ))
}

const _: () = assert!(FAULTS <= PAGES && COLD_PAGES <= PAGES);

/// The `smmu` crate, told to do the same: stage 1, a PASID, a TLB of 2048 entries.
struct Peer {
    smmu: SMMU,
    stream: peer::StreamID,
    pasid: peer::PASID,
}

impl Peer {
    fn new(pages: u64) -> Result<Peer> {
        let cache = peer::CacheConfig::builder().tlb_cache_size(2048).build();
        let config = peer::SMMUConfig::builder()
            .cache_config(cache.map_err(peer_error)?)
            .build()
            .map_err(peer_error)?;
        let smmu = SMMU::with_config(config);
        smmu.enable().map_err(peer_error)?;
        let stream = peer::StreamID::new(8).map_err(peer_error)?;
        let pasid = peer::PASID::new(1).map_err(peer_error)?;
        let mut stream_config = peer::StreamConfig::stage1_only();
        stream_config.pasid_enabled = true;
        stream_config.max_pasid = 7;
        stream_config.s1cd_max = 3;
        smmu.configure_stream(stream, stream_config)
            .map_err(peer_error)?;
        smmu.create_pasid(stream, pasid).map_err(peer_error)?;
        for index in 0..pages {
            let iova = peer::IOVA::new(page(index)).map_err(peer_error)?;
            let to = peer::PA::new(frame(index)).map_err(peer_error)?;
            let permissions = peer::PagePermissions::read_write();
            let security = peer::SecurityState::NonSecure;
            smmu.map_page(stream, pasid, iova, to, permissions, security)
                .map_err(peer_error)?;
        }
        let peer = Peer {
            smmu,
            stream,
            pasid,
        };
        peer.hits(pages)?;
        Ok(peer)
    }

    fn hits(&self, pages: u64) -> Result<f64> {
        let before = self.smmu.get_cache_statistics().tlb_hits();
        let (took, last) = time(|| {
            let mut last = None;
            for turn in 0..HITS {
                let iova = peer::IOVA::new(page(turn % pages) | 0x40).ok()?;
                last = black_box(self.smmu.translate(
                    black_box(self.stream),
                    black_box(self.pasid),
                    black_box(iova),
                    peer::AccessType::Write,
                    peer::SecurityState::NonSecure,
                ))
                .ok();
            }
            last
        });
        let address = last.ok_or_else(|| anyhow!("the peer does not translate"))?;
        ensure!(
            address.physical_address().as_u64() == frame((HITS - 1) % pages) | 0x40,
            "the peer translates otherwise"
        );
        let hits = self.smmu.get_cache_statistics().tlb_hits() - before;
        ensure!(hits >= HITS - pages, "the peer had {hits} hits of {HITS}");
        Ok(ns_each(took, HITS))
    }
}

fn peer_error(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{PEER}: {error}")
}
