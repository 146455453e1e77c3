---------------------------- MODULE Transactions ----------------------------
(* Transactions in the metadata store: one row for each transactional id, which every transactional batch and EndTxn lock.

   Clients are as hard on us as they may be. A batch that was sent may be committed at any later moment, or never; an EndTxn
   may be executed at any later moment, again and again, by any agent; its answer may be lost. A session that was replaced
   (a zombie) goes on as if nothing had happened. An agent reads the row and the heads first, and updates them later.

   Flow "v2" is KIP-890: each transaction has an epoch of its own, and a batch adds its partition. Flow "classic" is KIP-98:
   partitions are added before, and the epoch stays. Bug = "none" is the design that holds; each other value breaks one
   rule, and check.sh shows that it is noticed. The classic flow itself has two flaws that are known (KIP-890): a late
   EndTxn may end the next transaction, and a late batch may get into it. They are runs of their own. *)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS Scene, Flow, Bug, MaxTxn, MaxRetry

\* which sessions there are, and the transactional id that each uses
Owner == CASE Scene \in {"alone", "patient"} -> [x |-> "A"]
           [] Scene = "zombie" -> [x |-> "A", y |-> "A"]
           [] Scene = "two"    -> [x |-> "A", z |-> "B"]
Sessions == DOMAIN Owner
Ids == {Owner[s] : s \in Sessions}
Parts == IF Scene = "two" THEN {1} ELSE {1, 2}
Mut(b) == Bug = b
Complete(how) == "complete-" \o how

VARIABLES
  row,    \* transactional id: epoch, state, partitions, version
  log,    \* partition: batches [k |-> "data", id, t, ep] and markers [k |-> "commit" or "abort", id]
  open,   \* partition, id: the first offset of the id's open transaction there, 0 for none
  cl,     \* session: what the client believes
  net,    \* batches that were sent and may still be committed
  ends,   \* EndTxn requests that were sent
  work,   \* EndTxn requests whose agent has read the row, and may update it
  asked,  \* transaction: how its client wanted it to end
  told    \* transactions whose end was confirmed to the client
vars == <<row, log, open, cl, net, ends, work, asked, told>>

Init == /\ row = [i \in Ids |-> [ep |-> 0, st |-> "empty", parts |-> {}, ver |-> 0]]
        /\ log = [p \in Parts |-> <<>>]
        /\ open = [p \in Parts |-> [i \in Ids |-> 0]]
        /\ cl = [s \in Sessions |-> [st |-> "new", n |-> 1, ep |-> 0, sent |-> {}, acked |-> {}, bad |-> FALSE]]
        /\ net = {} /\ ends = {} /\ work = {} /\ told = {}
        /\ asked = [x \in {} |-> "none"]

Txn(s) == <<s, cl[s].n>>

----------------------------------------------------------------------------
\* **One update ends a transaction**: the state, the epoch, and the markers of all its partitions.
Marked(id, parts, how) == [p \in Parts |-> IF p \in parts THEN Append(log[p], [k |-> how, id |-> id]) ELSE log[p]]
Closed(id, parts) == [p \in Parts |-> IF p \in parts THEN [open[p] EXCEPT ![id] = 0] ELSE open[p]]
Ended(id, how, parts, ep) ==
  /\ row' = [row EXCEPT ![id] = [ep |-> ep, st |-> Complete(how), parts |-> {}, ver |-> @.ver + 1]]
  /\ log' = Marked(id, parts, how)
  /\ open' = Closed(id, parts)

\* A session begins: what the one before it left open is aborted, and its epoch is no longer valid.
Begin(s) ==
  LET id == Owner[s] r == row[id] ep == IF Mut("no_bump") /\ r.ep > 0 THEN r.ep ELSE r.ep + 1 IN
  /\ cl[s].st = "new"
  /\ IF r.st = "ongoing" /\ ~Mut("init_keeps_open") THEN Ended(id, "abort", r.parts, ep)
     ELSE /\ row' = [row EXCEPT ![id] = [@ EXCEPT !.ep = ep, !.st = "empty", !.parts = {}, !.ver = @ + 1]]
          /\ UNCHANGED <<log, open>>
  /\ cl' = [cl EXCEPT ![s].st = "idle", ![s].ep = ep]
  /\ UNCHANGED <<net, ends, work, asked, told>>

\* The client writes to a partition. In the classic flow the partition has been added before.
Send(s, p) ==
  LET c == cl[s] id == Owner[s] IN
  /\ c.st \in {"idle", "in"} /\ c.n <= MaxTxn /\ p \notin c.sent
  /\ IF Flow = "classic"
     THEN /\ row[id].ep = c.ep
          /\ row' = [row EXCEPT ![id] = [@ EXCEPT !.st = "ongoing", !.parts = @ \cup {p}, !.ver = @ + 1]]
     ELSE UNCHANGED row
  /\ net' = net \cup {[s |-> s, t |-> Txn(s), p |-> p, ep |-> c.ep]}
  /\ cl' = [cl EXCEPT ![s].st = "in", ![s].sent = @ \cup {p}]
  /\ UNCHANGED <<log, open, ends, work, asked, told>>

\* **A batch locks the row, and must match its epoch and an open state.** In v2 it may open the transaction itself.
Admits(r, m) ==
  /\ Mut("batch_unlocked") \/ Mut("no_epoch") \/ r.ep = m.ep
  /\ Mut("batch_unlocked") \/ Flow = "v2" \/ (r.st = "ongoing" /\ m.p \in r.parts)
Current(m) == cl[m.s].st = "in" /\ Txn(m.s) = m.t
Commit(m) ==
  LET id == Owner[m.s] r == row[id] IN
  /\ net' = net \ {m}
  /\ IF Admits(r, m)
     THEN /\ log' = [log EXCEPT ![m.p] = Append(@, [k |-> "data", id |-> id, t |-> m.t, ep |-> m.ep])]
          /\ open' = [open EXCEPT ![m.p][id] = IF @ = 0 THEN Len(log[m.p]) + 1 ELSE @]
          /\ row' = IF Flow = "classic" \/ Mut("batch_unlocked") THEN row
                    ELSE [row EXCEPT ![id] = [@ EXCEPT !.st = "ongoing", !.parts = @ \cup {m.p}, !.ver = @ + 1]]
          /\ cl' = IF Current(m) THEN [cl EXCEPT ![m.s].acked = @ \cup {m.p}] ELSE cl
     ELSE /\ cl' = IF Current(m) THEN [cl EXCEPT ![m.s].bad = TRUE] ELSE cl
          /\ UNCHANGED <<row, log, open>>
  /\ UNCHANGED <<ends, work, asked, told>>

\* The client ends its transaction: commits what was acknowledged in full, or aborts at any time.
Ask(s, how) ==
  LET c == cl[s] IN
  /\ c.st = "in"
  /\ how = "commit" => c.acked = c.sent /\ ~c.bad
  /\ Scene = "patient" => c.acked = c.sent              \* this client has no batch under way when it ends
  /\ ends' = ends \cup {[s |-> s, t |-> Txn(s), how |-> how, ep |-> c.ep, runs |-> 0]}
  /\ asked' = (Txn(s) :> how) @@ asked
  /\ cl' = [cl EXCEPT ![s].st = "ending"]
  /\ UNCHANGED <<row, log, open, net, work, told>>

\* An agent takes an EndTxn up: it reads the row to learn the heads.
Learn(e) ==
  /\ e.runs < MaxRetry
  /\ work' = work \cup {[e |-> e, ver |-> row[Owner[e.s]].ver, parts |-> row[Owner[e.s]].parts]}
  /\ ends' = (ends \ {e}) \cup {[e EXCEPT !.runs = @ + 1]}
  /\ UNCHANGED <<row, log, open, cl, net, asked, told>>

Answer(e, ep, heard) ==
  /\ told' = IF heard THEN told \cup {<<e.t, e.how>>} ELSE told
  /\ cl' = IF heard /\ cl[e.s].st = "ending" /\ Txn(e.s) = e.t
           THEN [cl EXCEPT ![e.s] = [st |-> "idle", n |-> @.n + 1, ep |-> ep, sent |-> {}, acked |-> {}, bad |-> FALSE]] ELSE cl
EpochAfter(ep) == IF Flow = "v2" THEN ep + 1 ELSE ep
\* In v2 also a transaction into which no batch has got yet has an end: the late batch must find another epoch.
MayEnd(r, e) == (Mut("no_epoch") \/ r.ep = e.ep) /\ (r.st = "ongoing" \/ (Flow = "v2" /\ e.how = "abort" /\ ~Mut("empty_abort")))
Again(r, e) == r.st = Complete(e.how) /\ r.ep = EpochAfter(e.ep)

\* **The update fails, and the row is read again, if the row has changed.**
Update(w, heard) ==
  LET e == w.e id == Owner[e.s] r == row[id] IN
  /\ work' = work \ {w}
  /\ IF w.ver # r.ver /\ ~Mut("end_stale") THEN UNCHANGED <<row, log, open, cl, told>>
     ELSE IF MayEnd(r, e)
     THEN LET some == IF Mut("torn") /\ w.parts # {} THEN {CHOOSE p \in w.parts : TRUE} ELSE w.parts IN
          /\ IF Mut("torn") /\ some # w.parts
             THEN /\ log' = Marked(id, some, e.how) /\ open' = Closed(id, some)
                  /\ row' = [row EXCEPT ![id] = [@ EXCEPT !.parts = @ \ some, !.ver = @ + 1]] /\ UNCHANGED <<cl, told>>
             ELSE Ended(id, e.how, some, EpochAfter(r.ep)) /\ Answer(e, EpochAfter(r.ep), heard)
     ELSE IF Again(r, e) \/ Mut("always_ok") \/ (Mut("empty_abort") /\ r.ep = e.ep /\ e.how = "abort")
     THEN Answer(e, r.ep, heard) /\ UNCHANGED <<row, log, open>>
     ELSE UNCHANGED <<row, log, open, cl, told>>
  /\ UNCHANGED <<net, ends, asked>>

\* A transaction that lasts too long is aborted, and its producer fenced.
TimeOut(id) ==
  LET r == row[id] IN
  /\ r.st = "ongoing" /\ r.ep < 4
  /\ Ended(id, "abort", r.parts, IF Mut("timeout_no_bump") THEN r.ep ELSE r.ep + 1)
  /\ UNCHANGED <<cl, net, ends, work, asked, told>>

Next == \/ \E s \in Sessions : \/ Begin(s)
                               \/ \E p \in Parts : Send(s, p)
                               \/ \E how \in {"commit", "abort"} : Ask(s, how)
        \/ \E m \in net : Commit(m)
        \/ \E e \in ends : Learn(e)
        \/ \E w \in work, heard \in BOOLEAN : Update(w, heard)
        \/ \E id \in Ids : TimeOut(id)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
Offsets(p) == 1..Len(log[p])
IsData(p, i) == log[p][i].k = "data"
After(p, i) == {j \in Offsets(p) : j > i /\ ~IsData(p, j) /\ log[p][j].id = log[p][i].id}
Outcome(p, i) == IF After(p, i) = {} THEN "open" ELSE log[p][CHOOSE j \in After(p, i) : \A k \in After(p, i) : j <= k].k
Of(t) == {<<p, i>> \in Parts \X (1..12) : i <= Len(log[p]) /\ IsData(p, i) /\ log[p][i].t = t}
Txns == {log[q[1]][q[2]].t : q \in {q \in Parts \X (1..12) : q[2] <= Len(log[q[1]]) /\ IsData(q[1], q[2])}}

\* LSO: the first offset of the earliest open transaction, or the log end
Firsts(p) == {open[p][i] : i \in Ids} \ {0}
Lso(p) == IF Firsts(p) = {} THEN Len(log[p]) + 1
          ELSE IF Mut("lso_latest") THEN CHOOSE o \in Firsts(p) : \A q \in Firsts(p) : o >= q
          ELSE CHOOSE o \in Firsts(p) : \A q \in Firsts(p) : o <= q

\* nothing is committed whose client did not ask for that
NoAbortedRead == \A t \in Txns : \A q \in Of(t) : Outcome(q[1], q[2]) = "commit" => t \in DOMAIN asked /\ asked[t] = "commit"
\* all of a transaction becomes visible together
NotTorn == \A t \in Txns : \A q, r \in Of(t) : Outcome(q[1], q[2]) = "commit" => Outcome(r[1], r[2]) = "commit"
\* what the client was told is so
Told == \A x \in told : \A q \in Of(x[1]) : Outcome(q[1], q[2]) = x[2]
\* a transaction that has ended holds no reader up
NoDangling == \A id \in Ids : row[id].st # "ongoing" => \A p \in Parts : open[p][id] = 0
\* read_committed sees no record whose fate is open
Settled == \A p \in Parts : \A i \in 1..(Lso(p) - 1) : IsData(p, i) => Outcome(p, i) # "open"
\* and what it saw stays so
Stable == [][\A p \in Parts : \A i \in 1..(Lso(p) - 1) : log'[p][i] = log[p][i] /\ (IsData(p, i) => Outcome(p, i)' = Outcome(p, i))]_vars
=============================================================================
