# The table of runs, sourced by check.sh: run NAME EXPECTED SCENE FLOW BUG TRANSACTIONS RETRIES

# the design that holds
run hold_alone   hold alone   v2      none 2 2
run hold_zombie  hold zombie  v2      none 1 1
run hold_two     hold two     v2      none 1 1
run hold_classic hold patient classic none 1 2

# what KIP-890 says of the classic flow, and mends
run classic_late_batch Told          alone   classic none 2 1
run classic_late_end   NoAbortedRead patient classic none 2 2

# one rule broken at a time
run bug_batch_unlocked  NoDangling alone  v2 batch_unlocked  1 1
run bug_end_stale       NoDangling alone  v2 end_stale       1 1
run bug_no_epoch        Told       zombie v2 no_epoch        1 1
run bug_no_bump         NotTorn    zombie v2 no_bump         1 1
run bug_init_keeps_open NoDangling zombie v2 init_keeps_open 1 1
run bug_empty_abort     Told       alone  v2 empty_abort     2 1
run bug_timeout_no_bump NotTorn    alone  v2 timeout_no_bump 1 1
run bug_torn            NotTorn    alone  v2 torn            1 2
run bug_always_ok       Told       alone  v2 always_ok       1 1
run bug_lso_latest      Settled    two    v2 lso_latest      1 1
