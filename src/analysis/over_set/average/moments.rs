//! Mean and standard error of numbers that come one by one.

use crate::cast::single;
use crate::report::Cell;

/// The mean and the squares about it (Welford 1962): nothing is kept of the numbers themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    n: usize,
    mean: f64,
    squares: f64,
}

impl Moments {
    pub fn of(number: f64) -> Self {
        let mut one = Moments::default();
        one.add(number);
        one
    }

    /// Adds a number; what is none is left out, and `n` tells.
    pub fn add(&mut self, number: f64) {
        if number.is_finite() {
            self.n += 1;
            let off = number - self.mean;
            self.mean += off / self.n as f64;
            self.squares += off * (number - self.mean);
        }
    }

    /// The same with zeros for all of `n` numbers that were not added.
    pub fn with_zeros(mut self, n: usize) -> Self {
        (self.n..n).for_each(|_| self.add(0.0));
        self
    }

    pub fn n(&self) -> usize {
        self.n
    }

    pub fn mean(&self) -> Cell {
        if self.n == 0 { Cell::Empty } else { Cell::Number(single(self.mean)) }
    }

    /// How large the mean is, for sorting.
    pub fn size(&self) -> f64 {
        self.mean.abs()
    }

    /// `s / sqrt(n)` with the unbiased `s`; nothing of one number.
    pub fn error(&self) -> Cell {
        let n = self.n as f64;
        if self.n < 2 { Cell::Empty } else { Cell::Number(single((self.squares / (n - 1.0) / n).sqrt())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::statistics::mean_and_error;

    #[test]
    fn they_are_those_of_the_whole_list() {
        let list = [2.0, 4.0, f64::NAN, 4.0, 5.0, 1e3, 7.0, -9.0];
        let mut moments = Moments::default();
        list.iter().for_each(|x| moments.add(*x));
        let (mean, error) = mean_and_error(list.iter().copied().filter(|x| x.is_finite()));
        assert_eq!(moments.mean(), Cell::Number(single(mean.unwrap())));
        assert_eq!(moments.error(), Cell::Number(single(error.unwrap())));
        assert_eq!((moments.n(), Moments::of(3.0).error(), Moments::default().mean()), (7, Cell::Empty, Cell::Empty));
    }
}
