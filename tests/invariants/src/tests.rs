//! The harness on the compiled contracts: is it reproducible, does it forget nothing, does it notice anything?

use std::path::Path;

use crate::{
    campaign::{self, Deployments, Plan},
    dice::Dice,
    generator::{Generator, set_up},
    market::{Classes, Market, own_classes},
    model::{Terms, TokenKind},
    run::Run,
    shrink,
    tally::Tally,
    views::View,
};

const PLAN: Plan = Plan { sequences: 6, first: 0, calls: 40, seed: 11, threads: 1 };
const TERMS: Terms = Terms {
    min_stake_per_slot: 7,
    unbonding_s: 95,
    challenge_window_s: 41,
    dispute_window_s: 333,
    min_keeper_bond: 3,
    policy_delay_s: 55,
    upgrade_delay_s: 1,
    token: TokenKind::Test,
    is_set_up: true,
};

fn classes() -> Classes {
    Classes::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/artifacts"), &own_classes()).unwrap()
}

#[test]
fn a_campaign_does_not_depend_on_its_threads() {
    let classes = classes();
    let alone = campaign::run(&classes, &PLAN).unwrap();
    let threaded = campaign::run(&classes, &Plan { threads: 3, ..PLAN }).unwrap();
    assert!(alone.failure.is_none(), "{}", alone.failure.unwrap().violation);
    assert_eq!((alone.calls, alone.tally), (threaded.calls, threaded.tally));
}

#[test]
fn the_same_seed_draws_the_same_calls() {
    let classes = classes();
    let mut deployments = Deployments::new(&classes);
    let mut draw = |index| {
        let mut generator = Generator::new(Dice::of_sequence(5, index), &TERMS);
        let (mut run, _) = deployments.run(TERMS).unwrap();
        let mut steps = Vec::new();
        for _ in 0..40 {
            let step = generator.next(&run.model);
            run.make(&step).unwrap();
            steps.push(step);
        }
        steps
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn remembered_answers_are_what_the_views_answer() {
    let classes = classes();
    let (mut run, _) = Deployments::new(&classes).run(TERMS).unwrap();
    let mut generator = Generator::new(Dice::of_sequence(5, 3), &TERMS);
    for _ in 0..80 {
        let step = generator.next(&run.model);
        run.make(&step).unwrap();
    }
    let (jobs, workers) = (run.model.job_mgr.jobs.len(), run.model.cdc_pool.workers.len());
    assert!(jobs > 3 && workers > 1, "{jobs} jobs, {workers} workers");
    let (views, now) = (View::often(&run.model), run.model.now);
    let market = run.market();
    let remembered: Vec<_> = views.iter().map(|view| market.look(*view, now).clone()).collect();
    market.forget();
    let fresh: Vec<_> = views.iter().map(|view| market.look(*view, now).clone()).collect();
    assert_eq!(remembered, fresh);
}

#[test]
fn a_difference_is_found_shrunk_and_replayed() {
    let classes = classes();
    // The contracts' window is not the one that the model knows: only a result can show it.
    let other = Terms { challenge_window_s: 42, ..TERMS };
    let mut market = Market::deploy(&classes, &other).unwrap();
    let mut prepared = Run::new(&mut market, TERMS).unwrap();
    set_up(&TERMS).iter().for_each(|step| prepared.make_through(step).unwrap());
    let fails = |steps: &[crate::calls::Step]| {
        let mut run = prepared.clone();
        steps.iter().find_map(|step| run.make(step).err())
    };
    let found = (0..40).find_map(|index| {
        let mut generator = Generator::new(Dice::of_sequence(5, index), &TERMS);
        let mut run = prepared.clone();
        let mut steps = Vec::new();
        for _ in 0..60 {
            steps.push(generator.next(&run.model));
            // The configuration shows it at once; what is looked for is the result.
            match run.make(steps.last()?) {
                Err(violation) if violation.what.contains("ResultSubmitted") => return Some(steps),
                _ => {}
            }
        }
        None
    });
    let steps = found.expect("some sequence submits a result");
    let is_result = |steps: &[crate::calls::Step]| {
        let mut run = prepared.clone();
        steps.iter().any(|step| run.make(step).is_err_and(|violation| violation.what.contains("ResultSubmitted")))
    };
    let shrunk = shrink::shrink(steps.clone(), is_result);
    assert!(is_result(&shrunk) && shrunk.len() < steps.len() && shrunk.len() <= 6, "{} calls left", shrunk.len());
    // Whatever came first, the same calls find the same thing again.
    let (first, second) = (fails(&shrunk).unwrap(), fails(&shrunk).unwrap());
    assert_eq!((first.what, first.states), (second.what, second.states));
}

#[test]
fn a_tally_counts_what_it_is_given() {
    let classes = classes();
    let mut tally = Tally::default();
    let (calls, failure) = campaign::sequence(&mut Deployments::new(&classes), &PLAN, 2, &mut tally).unwrap();
    assert!(failure.is_none() && calls >= PLAN.calls);
    assert!(tally.table().contains("JobMgr.submit_job"));
}
