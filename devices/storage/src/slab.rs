//! Values by number, where a number is used again when its value is gone.

#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new() }
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop()
            && let Some(place) = self.places.get_mut(index(number))
        {
            *place = Some(value);
            return number;
        }
        let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Some(value));
        number
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.places.get_mut(index(number))?.as_mut()
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.places.get_mut(index(number))?.take()?;
        self.free.push(number);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len().saturating_sub(self.free.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn numbers_are_used_again() {
        let mut slab = Slab::default();
        assert_eq!([slab.insert('a'), slab.insert('b'), slab.insert('c')], [0, 1, 2]);
        assert_eq!((slab.remove(1), slab.remove(1), slab.remove(9)), (Some('b'), None, None));
        assert_eq!((slab.insert('d'), slab.len()), (1, 3));
        assert_eq!(slab.get_mut(1), Some(&mut 'd'));
    }
}
