//! How many connections there may be: all together (`max.connections`), and from one address (`max.connections.per.ip`).
use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

/// The connections that there are, by address.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place; free again when this is dropped.
pub struct Place {
    places: Places,
    address: IpAddr,
}

/// What may be had at this moment; both settings change while the server runs.
#[derive(Clone, Copy, Debug)]
pub struct PlacesMax {
    pub all: usize,
    pub from_one_address: usize,
}

impl Places {
    /// A place for a connection from this address; `None`: there are too many already.
    pub fn take(&self, address: IpAddr, max: PlacesMax) -> Option<Place> {
        let mut taken = self.0.lock();
        let all: usize = taken.values().sum();
        let here = taken.entry(address).or_default();
        if all >= max.all || *here >= max.from_one_address {
            if *here == 0 {
                taken.remove(&address);
            }
            return None;
        }
        *here += 1;
        Some(Place {
            places: self.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        if let Some(here) = taken.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_own_limit_and_gives_its_places_back() {
        let places = Places::default();
        let max = PlacesMax {
            all: 3,
            from_one_address: 2,
        };
        let [a, b, c] = [1, 2, 3].map(|n| IpAddr::from([127, 0, 0, n]));
        let held = [places.take(a, max), places.take(a, max)];
        assert!(held.iter().all(Option::is_some));
        assert!(places.take(a, max).is_none(), "two from one address");
        let third = places.take(b, max);
        assert!(places.take(c, max).is_none(), "three in all");
        drop(held);
        assert!(places.take(a, max).is_some());
        drop(third);
        assert!(places.0.lock().is_empty());
    }
}
