//! The contract of `Selector`, as one suite: plain functions, each run for every backend that this build
//! can use, and for epoll without nanosecond waits. The rules are numbered in `os/selector/mod.rs`.
//!
//! * `kit`: a selector with its events, and connected pairs.
//! * `readiness`, `registrations`, `waits`: the functions.

mod kit;
mod readiness;
mod registrations;
mod waits;

use kit::Kit;

/// Makes a test of each function.
macro_rules! on_every_backend {
    ($($group:ident: $($name:ident),+;)+) => {
        $($(
            #[test]
            fn $name() {
                for mut kit in Kit::all() {
                    $group::$name(&mut kit);
                }
            }
        )+)+
    };
}

on_every_backend! {
    readiness:
        data_makes_readable,
        room_makes_writable,
        both_directions_are_one_event,
        an_edge_comes_again_after_would_block,
        an_edge_is_told_once,
        a_level_is_told_until_it_is_gone,
        room_after_would_block_makes_writable,
        a_half_close_is_told_with_the_data_before_it,
        a_full_close_is_worth_reading,
        a_reset_is_worth_reading,
        a_refused_connect_is_told_and_keeps_its_error,
        an_accepted_connect_makes_writable,
        a_connection_to_accept_makes_readable;
    registrations:
        deregistering_silences,
        deregistering_what_is_not_registered_is_no_error,
        registering_again_replaces_the_token,
        a_number_can_be_adopted,
        what_was_ready_before_registering_is_told,
        interest_silences_levels,
        gaining_write_interest_tells_of_room,
        remasking_silences_and_evaluates_anew,
        every_bit_of_a_token_comes_back,
        a_descriptor_number_used_again_is_somebody_else,
        a_number_closed_without_deregistering_can_be_registered_again;
    waits:
        wake_ups_before_a_wait_count_as_one,
        a_wake_up_from_another_thread_ends_the_wait,
        a_waker_wakes_again_and_again,
        no_timeout_is_early,
        a_timeout_of_zero_does_not_wait,
        timeouts_below_a_millisecond_are_kept,
        a_signal_ends_the_wait_and_says_so,
        more_events_than_fit_are_told_later,
        a_wait_replaces_the_batch,
        the_set_itself_becomes_readable;
}
