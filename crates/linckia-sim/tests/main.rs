//! The simulator proves itself: it repeats to the byte, and it finds every fault that is planted.
//!
//! The seeds that must pass run by `linckia-sim run`; here is what makes their silence worth
//! something.

use linckia_model::Fault;
use linckia_sim::{Plan, PlanSize, run_seed};

/// A planted fault must show within this many seeds.
const SEEDS: u64 = 1_000;

fn found_within(fault: Fault, first: u64) -> Option<u64> {
    (first..first + SEEDS).find(|seed| {
        let plan = Plan::new(*seed, PlanSize::EVERYTHING);
        run_seed(plan, Some(fault), false).violation.is_some()
    })
}

fn check_found(fault: Fault) {
    check_found_from(fault, 0);
}

/// For what takes a rare meeting of things.
fn check_found_from(fault: Fault, first: u64) {
    match found_within(fault, first) {
        Some(seed) => println!("{} is found by seed {seed}", fault.name()),
        None => panic!("{} was not found within {SEEDS} seeds", fault.name()),
    }
}

#[test]
fn ties_by_arrival_are_found() {
    check_found(Fault::TiesByArrival);
}

#[test]
fn a_tombstone_dropped_early_is_found() {
    check_found(Fault::TombstoneDroppedEarly);
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    check_found(Fault::AcknowledgedBeforeSync);
}

#[test]
fn ignored_deps_are_found() {
    check_found(Fault::DepsIgnored);
}

#[test]
fn a_dropped_loser_is_found() {
    check_found(Fault::LoserDropped);
}

#[test]
fn a_reused_dot_is_found() {
    check_found(Fault::DotReused);
}

#[test]
fn a_clamp_over_the_whole_stamp_is_found() {
    check_found(Fault::ClampWhole);
}

#[test]
fn a_second_copy_that_counts_is_found() {
    check_found(Fault::CopyCounted);
}

#[test]
fn a_region_that_only_was_sent_an_event_and_counts_is_found() {
    check_found(Fault::SentCountsAsHeld);
}

#[test]
fn a_region_that_ignores_what_a_client_has_seen_is_found() {
    check_found(Fault::SessionIgnored);
}

#[test]
fn a_token_that_forgets_too_much_is_found() {
    check_found(Fault::TokenPrunedByApplied);
}

#[test]
fn a_token_that_leaves_out_what_was_read_is_found() {
    check_found(Fault::ReadsNotInToken);
}

#[test]
fn a_token_of_a_later_epoch_is_found() {
    check_found_from(Fault::TokenOfAnyEpoch, 27_000);
}

#[test]
fn a_set_that_forgets_adds_nobody_saw_is_found() {
    check_found(Fault::ConcurrentAddRemoved);
}

#[test]
fn a_maximal_version_that_is_dropped_is_found() {
    check_found(Fault::MaximalVersionDropped);
}

#[test]
fn an_event_folded_under_another_epochs_policy_is_found() {
    check_found(Fault::EpochIgnored);
}

#[test]
fn a_type_that_is_written_on_while_its_policy_changes_is_found() {
    check_found(Fault::BarrierSkipped);
}

#[test]
fn a_promise_about_a_lost_log_that_is_broken_is_found() {
    check_found(Fault::PromiseBroken);
}

#[test]
fn a_region_that_writes_before_it_has_again_what_the_others_hold_is_found() {
    check_found(Fault::SuccessorWritesAtOnce);
}

#[test]
fn a_region_with_a_new_disk_that_trusts_its_clock_is_found() {
    check_found(Fault::SuccessorTimeUnbounded);
}

#[test]
fn rows_compared_whatever_each_side_has_applied_are_found() {
    check_found(Fault::ComparedWithoutVectors);
}

#[test]
fn a_repair_by_the_side_that_is_wrong_is_found() {
    check_found(Fault::RepairTakesTheWrongSide);
}

#[test]
fn equal_seeds_run_equally() {
    for seed in 0..5 {
        let run = || run_seed(Plan::new(seed, PlanSize::EVERYTHING), None, true);
        let (first, second) = (run(), run());
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.inputs, second.inputs, "seed {seed}");
    }
}

#[test]
fn the_scenarios_meet_what_they_are_for() {
    let (mut conflicts, mut acknowledged) = (0, 0);
    for seed in 0..50 {
        let outcome = run_seed(Plan::new(seed, PlanSize::EVERYTHING), None, false);
        assert_eq!(outcome.violation, None, "seed {seed}");
        conflicts += outcome.conflicts;
        acknowledged += outcome.acknowledged;
    }
    assert!(acknowledged > 500, "only {acknowledged} writes were acknowledged");
    assert!(conflicts > 100, "only {conflicts} conflicts went on record");
}

#[test]
fn a_log_that_lets_go_too_early_is_found() {
    check_found(Fault::TruncatedUnstable);
}

#[test]
fn retired_events_of_which_nothing_is_kept_are_found() {
    check_found(Fault::RetiredForgotten);
}

#[test]
fn a_snapshot_without_absence_is_found() {
    check_found(Fault::AbsenceNotDonated);
}

#[test]
fn a_late_event_folded_in_behind_the_last_checkpoint_is_found() {
    check_found(Fault::LateAfterCheckpoint);
}

#[test]
fn a_snapshot_adopted_before_the_logs_are_there_is_found() {
    check_found(Fault::AdoptedBeforeLogs);
}

#[test]
fn a_lapse_that_waits_for_no_closing_is_found() {
    check_found(Fault::LapsedUnclosed);
}

#[test]
fn a_region_that_returns_unheard_is_found() {
    check_found(Fault::ReturnedUnheard);
}

#[test]
fn a_region_that_joins_before_all_others_know_of_it_is_found() {
    check_found(Fault::JoinedUnheard);
}
