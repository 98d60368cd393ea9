//! Things that are found again by a small number.

/// Things that are found again by a small number, which is used again when they are gone.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    /// The place that becomes taken next, if there is one.
    free: u32,
    len: usize,
}

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    /// The next one that is free.
    Free(u32),
}

/// No place at all.
const NONE: u32 = u32::MAX;

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        let place = self.free;
        match self.places.get_mut(place as usize) {
            Some(free) => {
                if let Place::Free(next) = std::mem::replace(free, Place::Taken(value)) {
                    self.free = next;
                }
                place
            }
            None => {
                let place = self.places.len() as u32;
                assert!(place < NONE, "four billion at a time");
                self.places.push(Place::Taken(value));
                place
            }
        }
    }

    /// Takes it out. None if there is nothing in this place.
    pub(crate) fn remove(&mut self, place: u32) -> Option<T> {
        let there = self.places.get_mut(place as usize)?;
        match std::mem::replace(there, Place::Free(self.free)) {
            Place::Taken(value) => {
                self.free = place;
                self.len -= 1;
                Some(value)
            }
            free @ Place::Free(_) => {
                *there = free;
                None
            }
        }
    }

    pub(crate) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        match self.places.get_mut(place as usize)? {
            Place::Taken(value) => Some(value),
            Place::Free(_) => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| match place {
            Place::Taken(value) => Some(value),
            Place::Free(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_holds_one_thing() {
        let mut slab = Slab::new();
        let places: Vec<_> = (0..4).map(|value| slab.insert(value)).collect();
        assert_eq!(places, [0, 1, 2, 3]);
        assert_eq!(slab.remove(1), Some(1));
        assert_eq!(slab.remove(1), None);
        assert_eq!(slab.remove(3), Some(3));
        assert_eq!(slab.len(), 2);
        assert_eq!(slab.insert(10), 3);
        assert_eq!(slab.insert(11), 1);
        assert_eq!(slab.insert(12), 4);
        assert_eq!(slab.remove(9), None);
        assert_eq!(slab.iter().copied().collect::<Vec<_>>(), [0, 11, 2, 10, 12]);
        *slab.get_mut(2).unwrap() += 1;
        assert_eq!(slab.remove(2), Some(3));
        assert_eq!(slab.get_mut(2), None);
    }
}
