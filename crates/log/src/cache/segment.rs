//! One budget of memory: what came first goes first, and what is fetched is fetched once.
use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// A byte-bounded map in order of arrival. A log is read in the order it was written, so what arrived first is done with
/// first; a policy that favours what was read before would keep old windows and drop the new ones that everybody waits for.
pub struct Segment<K, V> {
    bytes_max: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    slots: HashMap<K, Arc<OnceCell<V>>>,
    /// Filled slots and their bytes, oldest first.
    order: VecDeque<(K, usize)>,
    bytes: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Segment<K, V> {
    pub fn new(bytes_max: usize) -> Self {
        let state = State {
            slots: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        };
        Segment {
            bytes_max,
            state: Mutex::new(state),
        }
    }

    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub fn get(&self, key: &K) -> Option<V> {
        self.state.lock().slots.get(key)?.get().cloned()
    }

    /// Keeps a value of so many bytes. Keys name one content for ever, so the first value stays.
    pub fn insert(&self, key: K, value: V, bytes: usize) {
        let mut state = self.state.lock();
        let cell = state.slots.entry(key.clone()).or_default();
        if cell.set(value).is_ok() {
            state.admit(key, bytes, self.bytes_max);
        }
    }

    /// The value, or what `fetch` brings: (value, its bytes). However many ask for a key at once, one fetch runs; if its
    /// caller goes away, another caller's takes over.
    pub async fn get_or_fetch<E>(
        &self,
        key: K,
        fetch: impl Future<Output = Result<(V, usize), E>>,
    ) -> Result<V, E> {
        let cell = self
            .state
            .lock()
            .slots
            .entry(key.clone())
            .or_default()
            .clone();
        let flight = Flight {
            segment: self,
            key,
            cell,
        };
        let mut fetched = None;
        let value = flight.cell.get_or_try_init(|| async {
            let (value, bytes) = fetch.await?;
            fetched = Some(bytes);
            Ok(value)
        });
        let value = value.await?.clone();
        if let Some(bytes) = fetched {
            let key = flight.key.clone();
            self.state.lock().admit(key, bytes, self.bytes_max);
        }
        Ok(value)
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl<K: Eq + Hash + Clone, V> State<K, V> {
    fn admit(&mut self, key: K, bytes: usize, bytes_max: usize) {
        if bytes > bytes_max {
            // It would push everything else out, and then itself.
            self.slots.remove(&key);
            return;
        }
        self.order.push_back((key, bytes));
        self.bytes += bytes;
        while self.bytes > bytes_max {
            let Some((oldest, bytes)) = self.order.pop_front() else {
                return;
            };
            self.slots.remove(&oldest);
            self.bytes -= bytes;
        }
    }
}

/// Somebody who waits for a fetch: the last one to leave an empty slot removes it.
struct Flight<'a, K: Eq + Hash, V> {
    segment: &'a Segment<K, V>,
    key: K,
    cell: Arc<OnceCell<V>>,
}

impl<K: Eq + Hash, V> Drop for Flight<'_, K, V> {
    fn drop(&mut self) {
        if self.cell.initialized() {
            return;
        }
        let mut state = self.segment.state.lock();
        let ours = state
            .slots
            .get(&self.key)
            .is_some_and(|c| Arc::ptr_eq(c, &self.cell));
        // The map's reference and ours: nobody else waits. New ones come through the lock that is held.
        if ours && Arc::strong_count(&self.cell) == 2 {
            state.slots.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn many_who_ask_at_once_make_one_fetch() {
        let segment = Segment::<u8, u8>::new(100);
        let fetches = AtomicUsize::new(0);
        let ask = |_| {
            segment.get_or_fetch(1, async {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok::<_, ()>((7, 10))
            })
        };
        let answers = join_all((0..9).map(ask)).await;
        assert_eq!(answers, vec![Ok(7); 9]);
        assert_eq!(fetches.into_inner(), 1);
        assert_eq!(segment.bytes(), 10);
    }

    #[tokio::test]
    async fn an_error_or_a_caller_who_leaves_keeps_no_slot() {
        let segment = Segment::<u8, u8>::new(100);
        let failed = segment
            .get_or_fetch(1, async { Err::<(u8, usize), _>("no") })
            .await;
        assert_eq!(failed, Err("no"));
        let never = segment.get_or_fetch(2, std::future::pending::<Result<(u8, usize), ()>>());
        let gone = tokio::time::timeout(std::time::Duration::from_millis(1), never).await;
        assert!(gone.is_err());
        assert!(segment.state.lock().slots.is_empty());
        let then = segment.get_or_fetch(2, async { Ok::<_, ()>((3, 1)) }).await;
        assert_eq!(then, Ok(3));
    }

    #[test]
    fn what_came_first_goes_first_and_nothing_too_large_stays() {
        let segment = Segment::<u8, u8>::new(100);
        (0..5).for_each(|k| segment.insert(k, k, 30));
        assert_eq!(segment.bytes(), 90);
        assert_eq!((segment.get(&1), segment.get(&2)), (None, Some(2)));
        segment.insert(9, 9, 101);
        assert_eq!((segment.get(&9), segment.bytes()), (None, 90));
        segment.insert(2, 0, 30);
        assert_eq!((segment.get(&2), segment.bytes()), (Some(2), 90));
    }
}
