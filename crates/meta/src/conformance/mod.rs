//! Every promise of [`MetaStore`](crate::MetaStore) as a test that any store can run: `sh_meta::conformance!(open)` makes one `#[tokio::test]` of
//! each. `open` is an async function that gives a fresh, empty store and whatever must live as long as it.
//!
//! The names are the promises; the bodies are the proof.
mod feed;
mod races;
mod rows;
pub mod story;
mod updates;

pub use feed::*;
pub use races::*;
pub use rows::*;
pub use updates::*;

/// Runs the whole suite against the stores that `$open().await` gives, as `(keep, Arc<dyn MetaStore>)`.
#[macro_export]
macro_rules! conformance {
    ($open:path) => {
        $crate::conformance! { @each $open,
            a_row_that_never_existed_is_empty_and_has_version_zero,
            a_write_is_seen_by_every_later_read,
            a_version_grows_by_one_at_each_write,
            a_deleted_row_is_a_tombstone_that_keeps_counting,
            a_covered_row_takes_the_version_of_its_cover,
            a_scan_is_ordered_bounded_and_half_open,
            a_get_reads_all_its_rows_at_one_moment,
            a_snapshot_is_one_moment_of_rows_and_feed,
            a_value_of_a_megabyte_comes_back_whole,
            the_identity_stays,
            an_update_that_decides_nothing_leaves_no_trace,
            a_locked_row_that_is_not_written_stays_absent,
            the_same_request_runs_once_and_answers_the_same,
            an_entry_carries_its_changes_and_its_reply,
            misuse_is_refused_and_changes_nothing,
            a_missing_predecessor_means_that_the_store_went_back,
            four_thousand_extents_fit_in_one_update,
            the_same_request_at_the_same_time_runs_once,
            commit_abort_and_retry_of_one_absent_key_have_one_winner,
            a_row_inserted_while_an_updater_waits_is_seen_by_it,
            values_are_read_after_the_last_lock_is_held,
            a_bump_of_the_agent_row_fences_every_later_commit,
            thirty_two_updaters_never_deadlock_and_lose_nothing,
            a_reader_that_follows_misses_nothing,
            a_busy_lane_does_not_hide_the_others,
            a_page_of_the_feed_is_bounded,
            a_reader_that_starts_at_the_end_sees_only_what_is_new,
            the_feed_in_any_order_rebuilds_the_rows,
        }
    };
    (@each $open:path, $($promise:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let (_keep, store) = $open().await;
                $crate::conformance::$promise(store).await;
            }
        )*
    };
}
