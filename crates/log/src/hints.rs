//! Where readers will go on: what makes a sequential reader cheap, and known as one.
use std::collections::{HashMap, VecDeque};

use sh_base::{ObjectId, Offset, TopicPartition};

/// Places that are remembered; the oldest go first.
const HINTS_MAX: usize = 16 * 1024;

/// The place of the batch at an offset, if it is within an extent. A reader that comes to such an offset reads on; another one
/// has jumped.
#[derive(Default)]
pub struct Hints {
    places: HashMap<(TopicPartition, Offset), Hint>,
    order: VecDeque<(TopicPartition, Offset)>,
}

type Hint = Option<(ObjectId, u64)>;

impl Hints {
    pub fn get(&self, tp: TopicPartition, offset: Offset) -> Option<Hint> {
        self.places.get(&(tp, offset)).copied()
    }

    pub fn put(&mut self, tp: TopicPartition, offset: Offset, place: Hint) {
        if self.places.insert((tp, offset), place).is_none() {
            self.order.push_back((tp, offset));
        }
        if self.order.len() > HINTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }
}
