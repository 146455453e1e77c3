//! Which runs of which objects were asked for lately: when one GET of the whole is worth more than a GET for each run.
use std::collections::{HashMap, VecDeque};

use sh_base::ObjectId;

use crate::row::Place;

/// A third run of one object that is asked for makes it worth its whole.
const RUNS_BEFORE_WHOLE: usize = 3;
/// Objects whose asked runs are remembered.
const TOUCHED_MAX: usize = 4096;
/// After so many objects that were worth their whole, the next one is fetched whole at its first run: readers that catch up
/// in many partitions read one object after the other, and would pay two GETs too many for each.
const WHOLES_BEFORE_EAGER: usize = 2;
/// An object that was fetched whole at its first run must have been worth it by the time so many others were.
const TRIAL_OBJECTS: usize = 8;

#[derive(Default)]
pub struct Touched {
    runs: HashMap<ObjectId, Runs>,
    order: VecDeque<ObjectId>,
    /// Objects in a row that were worth their whole.
    worth: usize,
    /// Objects that were fetched whole at their first run, and are to prove worth it.
    trial: VecDeque<ObjectId>,
}

struct Runs {
    /// The first bytes of those that were asked for.
    starts: Vec<u64>,
    eager: bool,
    /// The object does not fit into the budget: it is read by blocks only.
    too_large: bool,
}

impl Runs {
    fn are_enough(&self) -> bool {
        self.starts.len() >= RUNS_BEFORE_WHOLE
    }
}

impl Touched {
    /// The object turned out to be too large to be kept.
    pub fn give_up(&mut self, object: ObjectId) {
        if let Some(runs) = self.runs.get_mut(&object) {
            runs.too_large = true;
        }
        self.worth = 0;
    }

    /// Notes the run; says whether its object is worth its whole. Only readers of history read object after object: whoever
    /// else asks gets no whole before it is worth it.
    pub fn touch(&mut self, place: &Place, history: bool) -> bool {
        if !self.runs.contains_key(&place.object) {
            let eager = history && self.worth >= WHOLES_BEFORE_EAGER;
            self.begin(place.object, eager);
        }
        let Some(runs) = self.runs.get_mut(&place.object) else {
            return false;
        };
        if runs.too_large {
            return false;
        }
        if !runs.are_enough() && !runs.starts.contains(&place.start) {
            runs.starts.push(place.start);
            if runs.are_enough() {
                self.worth = (self.worth + 1).min(WHOLES_BEFORE_EAGER);
            }
        }
        runs.eager || runs.are_enough()
    }

    fn begin(&mut self, object: ObjectId, eager: bool) {
        let runs = Runs {
            starts: Vec::new(),
            eager,
            too_large: false,
        };
        self.runs.insert(object, runs);
        self.order.push_back(object);
        if eager {
            self.trial.push_back(object);
        }
        if self.trial.len() > TRIAL_OBJECTS
            && let Some(tried) = self.trial.pop_front()
            && !self.runs.get(&tried).is_some_and(Runs::are_enough)
        {
            self.worth = 0;
            self.trial.clear();
        }
        if self.order.len() > TOUCHED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.runs.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use sh_base::{AgentId, Incarnation};

    use super::*;

    fn place(seq: u64, start: u64) -> Place {
        let by = Incarnation {
            agent: AgentId(1),
            epoch: 1,
            nonce: 1,
        };
        Place {
            object: ObjectId { by, seq },
            start,
            len: 10,
        }
    }

    /// Which of the first `runs` runs of an object asked for its whole.
    fn read(touched: &mut Touched, seq: u64, runs: u64) -> Vec<bool> {
        (0..runs)
            .map(|run| touched.touch(&place(seq, run * 10), true))
            .collect()
    }

    #[test]
    fn who_reads_object_after_object_in_many_partitions_gets_the_next_at_its_first_run() {
        let mut touched = Touched::default();
        assert_eq!(read(&mut touched, 1, 4), [false, false, true, true]);
        assert_eq!(read(&mut touched, 2, 4), [false, false, true, true]);
        assert_eq!(read(&mut touched, 3, 4), [true; 4]);
    }

    #[test]
    fn objects_that_were_not_worth_it_end_that() {
        let mut touched = Touched::default();
        for seq in 1..=2 {
            read(&mut touched, seq, 3);
        }
        // From then on one partition alone is read.
        let eager = (3..100).filter(|seq| read(&mut touched, *seq, 1)[0]);
        assert_eq!(eager.count(), TRIAL_OBJECTS + 1);
    }

    #[test]
    fn the_tail_is_not_history() {
        let mut touched = Touched::default();
        for seq in 1..=2 {
            read(&mut touched, seq, 3);
        }
        assert!(!touched.touch(&place(3, 0), false));
        assert!(touched.touch(&place(4, 0), true));
    }

    #[test]
    fn the_same_run_again_is_one_run() {
        let mut touched = Touched::default();
        assert!((0..10).all(|_| !touched.touch(&place(1, 0), true)));
    }
}
