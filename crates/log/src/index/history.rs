//! Extents before those that the chain keeps: pages of the store, remembered for readers that follow.
//!
//! A page may be older than the store. Its offsets still are what they were; extents that were merged or deleted since name
//! objects that are there for the grace period, and who does not find one forgets the pages and looks again.
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use sh_base::{Failure, Offset, TopicPartition};
use sh_meta::MetaStore;

use super::{chain::Known, scan::read_extents_at};
use crate::row::Extent;

/// Extents of one page.
const PAGE: usize = 256;
/// Pages of one partition: as many readers at different places do not disturb each other.
const PAGES_OF_PARTITION_MAX: usize = 8;

pub struct History {
    store: Arc<dyn MetaStore>,
    pages: Mutex<Pages>,
}

type Page = Arc<Vec<(Offset, Extent)>>;

struct Pages {
    by_partition: HashMap<TopicPartition, VecDeque<Page>>,
    /// The partition of each page, oldest page first.
    order: VecDeque<TopicPartition>,
    pages_max: usize,
}

impl History {
    pub fn new(store: Arc<dyn MetaStore>, extents_max: usize) -> History {
        let pages = Pages {
            by_partition: HashMap::new(),
            order: VecDeque::new(),
            pages_max: (extents_max / PAGE).max(1),
        };
        History {
            store,
            pages: Mutex::new(pages),
        }
    }

    /// Extents from the one that holds `offset` on, whose bases are before `to`.
    pub async fn extents(
        &self,
        tp: TopicPartition,
        offset: Offset,
        to: Offset,
    ) -> Result<Vec<Known>, Failure> {
        let found = self.pages.lock().find(&tp, offset);
        let page = match found {
            Some(page) => page,
            None => {
                let page = Arc::new(read_extents_at(&*self.store, tp, offset, to, PAGE).await?);
                self.pages.lock().keep(tp, page.clone());
                page
            }
        };
        let first = page.partition_point(|(_, e)| e.end <= offset);
        let known = |(base, extent): &(Offset, Extent)| Known {
            base: *base,
            extent: extent.clone(),
            heard: None,
        };
        Ok(page[first..].iter().map(known).collect())
    }

    pub fn forget(&self, tp: &TopicPartition) {
        let mut pages = self.pages.lock();
        pages.by_partition.remove(tp);
        pages.order.retain(|of| of != tp);
    }

    pub fn forget_all(&self) {
        let mut pages = self.pages.lock();
        pages.by_partition.clear();
        pages.order.clear();
    }
}

impl Pages {
    fn find(&self, tp: &TopicPartition, offset: Offset) -> Option<Page> {
        let holds = |page: &&Page| {
            let (first, last) = (page.first(), page.last());
            first.is_some_and(|(base, _)| *base <= offset)
                && last.is_some_and(|(_, e)| offset < e.end)
        };
        self.by_partition.get(tp)?.iter().find(holds).cloned()
    }

    fn keep(&mut self, tp: TopicPartition, page: Page) {
        self.by_partition.entry(tp).or_default().push_back(page);
        self.order.push_back(tp);
        if self.by_partition[&tp].len() > PAGES_OF_PARTITION_MAX {
            self.drop_oldest_of(tp);
        } else if self.order.len() > self.pages_max {
            let oldest = self.order[0];
            self.drop_oldest_of(oldest);
        }
    }

    fn drop_oldest_of(&mut self, tp: TopicPartition) {
        if let Some(pages) = self.by_partition.get_mut(&tp) {
            pages.pop_front();
            if pages.is_empty() {
                self.by_partition.remove(&tp);
            }
        }
        if let Some(at) = self.order.iter().position(|of| *of == tp) {
            self.order.remove(at);
        }
    }
}
