//! How many repeats the calls of one bucket may make.
use parking_lot::Mutex;

/// Repeats that may be made in a row when all was well before.
const REPEATS_MAX: u32 = 50;
/// Clear answers that pay for one repeat: repeats add at most a tenth to the load of a store that is in trouble for long.
const ANSWERS_PER_REPEAT: u32 = 10;

/// A token bucket, counted in clear answers.
pub(super) struct Budget {
    answers: Mutex<u32>,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            answers: Mutex::new(REPEATS_MAX * ANSWERS_PER_REPEAT),
        }
    }
}

impl Budget {
    pub(super) fn earn(&self) {
        let mut answers = self.answers.lock();
        *answers = (*answers + 1).min(REPEATS_MAX * ANSWERS_PER_REPEAT);
    }

    /// Takes one repeat if there is one.
    pub(super) fn spend(&self) -> bool {
        let mut answers = self.answers.lock();
        let enough = *answers >= ANSWERS_PER_REPEAT;
        if enough {
            *answers -= ANSWERS_PER_REPEAT;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_end_when_the_budget_is_spent_and_answers_fill_it() {
        let budget = Budget::default();
        assert_eq!(
            (0..100).filter(|_| budget.spend()).count(),
            REPEATS_MAX as usize
        );
        (0..ANSWERS_PER_REPEAT).for_each(|_| budget.earn());
        assert!(budget.spend() && !budget.spend());
    }
}
