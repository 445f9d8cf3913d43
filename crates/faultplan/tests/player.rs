//! Which of what comes by a rule takes.

use stallbox_faultplan::{Access, Beside, Fired, Plan, Player, Point, Subject};
use stallbox_timeline::{Span, Time};

fn player(rules: &str) -> Player {
    Player::new(&plan(rules), 1)
}

fn plan(rules: &str) -> Plan {
    Plan::parse(rules).unwrap_or_else(|error| panic!("{error}"))
}

/// A read of `address` by PASID 1.
fn read(address: u64) -> Subject<'static> {
    Subject {
        stream: Some(8),
        pasid: Some(1),
        address: Some((address, address)),
        access: Some(Access::Read),
        ..Subject::at(Point::Translation)
    }
}

fn ask(player: &Player, subject: &Subject<'_>) -> bool {
    player.ask(Time::ZERO, subject).is_some()
}

/// Which of ten equal subjects are taken, counted from 1.
fn taken(matches: &str) -> Vec<u32> {
    let player = player(&format!(
        "[[rule]]\nat = 'translation'\nmatch = {{ {matches} }}\ndo = {{ abort = true }}"
    ));
    (1..=10).filter(|_| ask(&player, &read(0x1000))).collect()
}

#[test]
fn counts_say_which_ones() {
    assert_eq!(taken(""), (1..=10).collect::<Vec<_>>());
    assert_eq!(taken("nth = 3"), [3]);
    assert_eq!(taken("every = 3"), [3, 6, 9]);
    assert_eq!(taken("nth = 2, every = 4"), [2, 6, 10]);
    assert_eq!(taken("times = 2"), [1, 2]);
    assert_eq!(taken("every = 2, times = 2"), [2, 4]);
    assert!(taken("probability = 0.0").is_empty());
    assert_eq!(taken("probability = 1"), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_probability_is_one_and_repeats_with_its_seed() {
    let text = "[[rule]]\nat = 'translation'\nmatch.probability = 0.25\ndo.abort = true";
    let draws = |seed| {
        let player = Player::new(&plan(text), seed);
        (0..4000)
            .map(|_| ask(&player, &read(0)))
            .collect::<Vec<_>>()
    };
    assert_eq!(draws(1), draws(1));
    assert_ne!(draws(1), draws(2));
    let hits = draws(1).into_iter().filter(|hit| *hit).count();
    // Binomial: mean 1000, deviation 27.
    assert!((870..1130).contains(&hits), "{hits}");
}

#[test]
fn a_plan_s_seed_beats_the_run_s() {
    let text = "seed = 9\n[[rule]]\nat = 'translation'\nmatch.probability = 0.5\ndo.abort = true";
    let draws = |seed| {
        let player = Player::new(&plan(text), seed);
        (0..64).map(|_| ask(&player, &read(0))).collect::<Vec<_>>()
    };
    assert_eq!(draws(1), draws(2));
}

#[test]
fn draws_go_on_as_another_seed_has_them_from_its_beginning() {
    let text = "seed = 9\n[[rule]]\nat = 'translation'\nmatch.probability = 0.5\n\
                do.delay = { dist = 'uniform', min_ns = 1, max_ns = 1000 }";
    let draw = |player: &Player| {
        let drawn = (0..64).map(|_| player.ask(Time::ZERO, &read(0)));
        drawn.map(|it| it.map(|it| it.delay)).collect::<Vec<_>>()
    };
    let of_three = Player::new(&plan(&text.replace("seed = 9", "seed = 3")), 1);
    let player = player(text);
    let of_nine = draw(&player);
    player.reseed(3);
    assert_eq!(draw(&player), draw(&of_three));
    player.reseed(9);
    assert_eq!(draw(&player), of_nine);
}

#[test]
fn a_rule_can_be_told_which_match_to_take() {
    let player = player(
        "[[rule]]\nname = 'one'\nat = 'translation'\nmatch = { every = 2, times = 1, probability = 0.5 }\n\
         do.abort = true",
    );
    let taken = || {
        (1..=10)
            .filter(|_| ask(&player, &read(0)))
            .collect::<Vec<_>>()
    };
    taken();
    for nth in [1, 7, 10] {
        assert_eq!(player.take_only("one", nth), 1);
        assert_eq!(taken(), [nth]);
        assert_eq!(player.counts()[0].matched, 10);
    }
    player.take_only("one", 0);
    assert!(taken().is_empty());
    assert_eq!(player.counts()[0].matched, 10);
    assert_eq!(player.take_only("two", 1), 0);
}

#[test]
fn who_where_and_how_are_matched() {
    for (matches, fits) in [
        ("stream = 8", true),
        ("stream = 9", false),
        ("pasid = 1", true),
        ("pasid = 'none'", false),
        ("address = 0x1000", true),
        ("address = '0x1000..0x2000'", true),
        ("address = '0xfff..0x1000'", false),
        ("address = '0x800+0x801'", true),
        ("access = 'read'", true),
        ("access = 'write'", false),
        ("attempt = 'retry'", false),
        ("queue = 3", false),
        ("ring = 'sq'", false),
    ] {
        let player = player(&format!(
            "[[rule]]\nat = 'translation'\nmatch = {{ {matches} }}\ndo = {{ abort = true }}"
        ));
        assert_eq!(ask(&player, &read(0x1000)), fits, "{matches}");
    }
}

#[test]
fn without_a_word_a_retry_is_not_meant() {
    let retry = Subject {
        stalls: 1,
        ..read(0)
    };
    for (matches, first, again) in [
        ("", true, false),
        ("attempt = 'first'", true, false),
        ("attempt = 'retry'", false, true),
        ("attempt = 'any'", true, true),
    ] {
        let player = player(&format!(
            "[[rule]]\nat = 'translation'\nmatch = {{ {matches} }}\ndo = {{ abort = true }}"
        ));
        assert_eq!(ask(&player, &read(0)), first, "{matches}");
        assert_eq!(ask(&player, &retry), again, "{matches}");
    }
}

#[test]
fn an_access_is_meant_when_it_overlaps() {
    let player = player("[[rule]]\nat='dma'\nmatch.address='0x1000..0x2000'\ndo.abort=true");
    let dma = |first, last| Subject {
        address: Some((first, last)),
        ..Subject::at(Point::Dma)
    };
    assert!(!ask(&player, &dma(0x0, 0xfff)));
    assert!(ask(&player, &dma(0x800, 0x1000)));
    assert!(ask(&player, &dma(0x0, 0xffff)));
    assert!(!ask(&player, &dma(0x2000, 0x2000)));
}

#[test]
fn commands_have_names_numbers_and_families() {
    let command = |code| Subject {
        code: Some(code),
        ..Subject::at(Point::Command)
    };
    for (matches, codes) in [
        ("'CMD_SYNC'", vec![0x46]),
        ("0x46", vec![0x46]),
        ("['CMD_RESUME', 'CMD_STALL_TERM']", vec![0x44, 0x45]),
        ("'CMD_TLBI'", vec![0x10, 0x11, 0x12, 0x13, 0x28, 0x30]),
    ] {
        let player = player(&format!(
            "[[rule]]\nat='command'\nmatch={{ command = {matches} }}\ndo={{ drop = true }}"
        ));
        for code in [0x03, 0x10, 0x11, 0x12, 0x13, 0x28, 0x30, 0x44, 0x45, 0x46] {
            assert_eq!(
                ask(&player, &command(code)),
                codes.contains(&code),
                "{matches}: {code:#x}"
            );
        }
    }
}

#[test]
fn a_value_is_matched_under_its_mask() {
    let player = player(
        "[[rule]]\nat='register_write'\nmatch={register=0x44, value={value=0x10, mask=0xf0}}\n\
         do={drop=true}",
    );
    let write = |register, value| Subject {
        code: Some(register),
        value: Some(value),
        ..Subject::at(Point::RegisterWrite)
    };
    assert!(ask(&player, &write(0x44, 0xff1f)));
    assert!(!ask(&player, &write(0x44, 0x20)));
    assert!(!ask(&player, &write(0x48, 0x10)));
}

#[test]
fn times_and_markers_open_and_close_a_rule() {
    let player = player(
        "[[rule]]\nat='translation'\nmatch={from_ns=10, until_ns=20, after_marker='go', \
         before_marker='stop'}\ndo={abort=true}",
    );
    let at = |ns| player.ask(Time::from_ns(ns), &read(0)).is_some();
    assert!(!at(15), "before the marker");
    player.marker("go");
    assert!(!at(9) && at(10) && at(19) && !at(20));
    player.marker("stop");
    assert!(!at(15));
}

#[test]
fn the_first_rule_that_takes_it_decides() {
    let player = player(
        "[[rule]]\nname='a'\nat='translation'\nmatch.nth=2\ndo.abort=true\n\
         [[rule]]\nname='b'\nat='translation'\ndo.evict=true",
    );
    let name = || {
        player
            .ask(Time::ZERO, &read(0))
            .map(|fired: Fired| fired.rule.name.clone())
    };
    assert_eq!(name().as_deref(), Some("b"));
    assert_eq!(name().as_deref(), Some("a"));
    assert_eq!(name().as_deref(), Some("b"));
    let counts: Vec<_> = player
        .counts()
        .iter()
        .map(|count| (count.matched, count.fired))
        .collect();
    // What a took did not come to b.
    assert_eq!(counts, [(3, 1), (2, 2)]);
}

#[test]
fn rules_are_added_and_switched_while_it_runs() {
    let player = player("");
    assert!(!player.wants(Point::Translation));
    let added = plan("[[rule]]\nname='x'\nat='translation'\ndo.abort=true");
    assert!(player.add(added.rules[0].clone()));
    assert!(player.wants(Point::Translation) && ask(&player, &read(0)));
    assert_eq!(player.switch("x", false), 1);
    assert!(!ask(&player, &read(0)));
    assert_eq!(player.switch("nobody", true), 0);
}

#[test]
fn a_delay_is_drawn_for_each_that_is_taken() {
    let player = player(
        "[[rule]]\nat='walk_step'\ndo.delay={dist='uniform', min_ns=100, max_ns=200}\n\
         [[rule]]\nat='tlb_hit'\ndo.delay=7",
    );
    let delay = |point| {
        player
            .ask(Time::ZERO, &Subject::at(point))
            .map(|fired| fired.delay)
    };
    let draws: Vec<Span> = (0..16).filter_map(|_| delay(Point::WalkStep)).collect();
    assert!(draws.iter().all(|span| (100..=200).contains(&span.as_ns())));
    assert!(draws.windows(2).any(|pair| pair[0] != pair[1]));
    assert_eq!(delay(Point::TlbHit), Some(Span::from_ns(7)));
}

const FOLLOWERS: &str = "
    [[rule]]
    name = 'first'
    at = 'dma'
    match = { nth = 2 }
    do = { delay = 1 }
    [[rule]]
    name = 'after'
    at = 'translation'
    match = { after_rule = 'first', after_ns = 20_000, times = 1 }
    do = { abort = true }
    [[rule]]
    name = 'before'
    at = 'translation'
    match = { before_rule = 'first' }
    do = { evict = true }
    [[rule]]
    name = 'timed'
    at = 'time'
    match = { after_rule = 'first', after_ns = 5 }
    do = { evict_tlb = 'all' }
";

#[test]
fn a_rule_can_wait_for_another_and_for_a_time_after_it() {
    let player = player(FOLLOWERS);
    let by = |ns| {
        let fired = player.ask(Time::from_ns(ns), &read(0));
        fired.map(|fired| fired.rule.name.clone())
    };
    let dma = |ns| player.ask(Time::from_ns(ns), &Subject::at(Point::Dma));
    assert_eq!(by(0).as_deref(), Some("before"));
    assert!(dma(10).is_none());
    assert_eq!(
        by(50_000).as_deref(),
        Some("before"),
        "it matched, and has not fired"
    );
    assert!(dma(100_000).is_some());
    assert_eq!(by(100_000), None);
    assert_eq!(by(119_999), None);
    assert_eq!(by(120_000).as_deref(), Some("after"));
    assert_eq!(by(120_001), None, "once");
}

#[test]
fn followers_are_told_by_the_name_that_they_wait_for() {
    let player = player(FOLLOWERS);
    let followers = player.followers("first");
    let names: Vec<&str> = followers.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["after", "before", "timed"]);
    assert!(player.followers("after").is_empty());
    // The time of a rule that follows is its player's to keep.
    let timed = player.timed().pop().unwrap();
    let subject = Subject::at(Point::Time);
    assert!(player.ask_rule(Time::ZERO, &timed, &subject).is_some());
}

#[test]
fn a_rule_that_is_added_later_knows_what_has_fired() {
    let player = player("[[rule]]\nname = 'x'\nat = 'dma'\ndo.delay = 1");
    assert!(
        player
            .ask(Time::from_ns(7), &Subject::at(Point::Dma))
            .is_some()
    );
    let beside = Beside {
        rules: vec!["x".to_owned()],
        gates: Vec::new(),
    };
    let text = "[[rule]]\nat = 'translation'\n\
                match = { after_rule = 'x', after_ns = 3 }\ndo.abort = true";
    assert!(Plan::parse(text).is_err());
    let rule = Plan::parse_beside(text, &beside).unwrap().rules.remove(0);
    assert!(player.add(rule));
    assert!(player.ask(Time::from_ns(9), &read(0)).is_none());
    assert!(player.ask(Time::from_ns(10), &read(0)).is_some());
}

#[test]
fn a_rule_that_is_off_takes_nothing_and_counts_nothing() {
    let player = player(
        "[[rule]]\nname = 'x'\nenabled = false\nat = 'dma'\nmatch.nth = 2\ndo.delay = 1\n\
         [[rule]]\nname = 'y'\nat = 'dma'\ndo.delay = 1",
    );
    let by = || {
        let fired = player.ask(Time::ZERO, &Subject::at(Point::Dma));
        fired.map(|fired| fired.rule.name.clone())
    };
    assert_eq!(by().as_deref(), Some("y"));
    assert_eq!(player.switch("x", true), 1);
    // What came before is not counted: this is the first.
    assert_eq!(by().as_deref(), Some("y"));
    assert_eq!(by().as_deref(), Some("x"));
    assert_eq!(player.switch("y", false), 1);
    assert_eq!(by(), None);
    assert_eq!(player.switch("nobody", true), 0);
}
