//! Places to go back and forward to.

/// Places kept.
const KEPT: usize = 100;

/// Where one has been.
#[derive(Clone, Debug)]
pub struct History<T> {
    back: Vec<T>,
    forward: Vec<T>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        History { back: Vec::new(), forward: Vec::new() }
    }
}

impl<T: PartialEq> History<T> {
    /// Remembers a place that is being left for a new one.
    pub fn leave(&mut self, place: T) {
        self.forward.clear();
        if self.back.last() != Some(&place) {
            self.back.push(place);
            let surplus = self.back.len().saturating_sub(KEPT);
            self.back.drain(..surplus);
        }
    }

    /// The place before this one.
    pub fn back(&mut self, here: T) -> Option<T> {
        let place = self.back.pop()?;
        self.forward.push(here);
        Some(place)
    }

    /// The place that was gone back from.
    pub fn forward(&mut self, here: T) -> Option<T> {
        let place = self.forward.pop()?;
        self.back.push(here);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_and_forward_meet() {
        let mut history = History::default();
        history.leave(1);
        history.leave(2);
        assert_eq!(history.back(3), Some(2));
        assert_eq!(history.back(2), Some(1));
        assert_eq!(history.back(1), None);
        assert_eq!(history.forward(1), Some(2));
        history.leave(2);
        assert_eq!(history.forward(9), None);
    }
}
