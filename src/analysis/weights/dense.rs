//! Small dense matrices in f64: the eigenvalues and singular values of a head, whose maps have the rank of its width.

use std::ops::{Index, IndexMut};

/// A matrix, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub data: Vec<f64>,
}

impl Index<(usize, usize)> for Matrix {
    type Output = f64;

    fn index(&self, (i, j): (usize, usize)) -> &f64 {
        &self.data[i * self.cols + j]
    }
}

impl IndexMut<(usize, usize)> for Matrix {
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut f64 {
        &mut self.data[i * self.cols + j]
    }
}

/// Rotations until nothing is left to turn, at most.
const SWEEPS: usize = 60;

impl Matrix {
    /// Of its numbers, row by row.
    pub fn new(rows: usize, cols: usize, data: Vec<f64>) -> Self {
        debug_assert_eq!(data.len(), rows * cols);
        Matrix { rows, cols, data }
    }

    fn identity(n: usize) -> Self {
        let mut one = Matrix::new(n, n, vec![0.0; n * n]);
        (0..n).for_each(|i| one[(i, i)] = 1.0);
        one
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// `self other`.
    pub fn times(&self, other: &Matrix) -> Matrix {
        let mut out = Matrix::new(self.rows, other.cols, vec![0.0; self.rows * other.cols]);
        for i in 0..self.rows {
            for (j, x) in self.row(i).iter().enumerate() {
                let to = &mut out.data[i * other.cols..(i + 1) * other.cols];
                to.iter_mut().zip(other.row(j)).for_each(|(to, y)| *to += x * y);
            }
        }
        out
    }

    /// The transpose.
    pub fn t(&self) -> Matrix {
        let data = (0..self.cols).flat_map(|j| (0..self.rows).map(move |i| self[(i, j)])).collect();
        Matrix::new(self.cols, self.rows, data)
    }

    /// The Frobenius norm.
    pub fn norm(&self) -> f64 {
        dot(&self.data, &self.data).sqrt()
    }

    /// The sum of products of their numbers: the trace of `selfᵀ other`.
    pub fn inner(&self, other: &Matrix) -> f64 {
        dot(&self.data, &other.data)
    }

    /// Rows as combinations of orthonormal ones: `self = l q` with `l` square and the rows of `q` orthonormal or, where rows depend on each other, zero.
    /// Gram and Schmidt, twice.
    fn orthonormal_rows(&self) -> (Matrix, Matrix) {
        let (n, mut q, mut l) =
            (self.rows, self.clone(), Matrix::new(self.rows, self.rows, vec![0.0; self.rows * self.rows]));
        let largest = (0..n).map(|i| dot(self.row(i), self.row(i)).sqrt()).fold(0.0, f64::max);
        for i in 0..n {
            for _ in 0..2 {
                for j in 0..i {
                    let along = dot(q.row(i), q.row(j));
                    l[(i, j)] += along;
                    let (before, own) = q.data.split_at_mut(i * self.cols);
                    own[..self.cols]
                        .iter_mut()
                        .zip(&before[j * self.cols..(j + 1) * self.cols])
                        .for_each(|(x, y)| *x -= along * y);
                }
            }
            let length = dot(q.row(i), q.row(i)).sqrt();
            let by = if length > 1e-14 * largest { 1.0 / length } else { 0.0 };
            l[(i, i)] = if by > 0.0 { length } else { 0.0 };
            q.data[i * self.cols..(i + 1) * self.cols].iter_mut().for_each(|x| *x *= by);
        }
        (l, q)
    }

    /// The eigenvalues of a square matrix, as real and imaginary parts, in no order: Hessenberg form, then shifted QR steps (Francis 1961), as in EISPACK.
    /// None where they do not converge.
    pub fn eigenvalues(&self) -> Option<Vec<(f64, f64)>> {
        let mut h = self.clone();
        h.hessenberg();
        let (mut found, mut shift, mut end) = (Vec::with_capacity(h.rows), 0.0, h.rows);
        let scale = h.norm();
        while end > 0 {
            let mut tries = 0;
            loop {
                let n = end - 1;
                // Where the matrix falls in two.
                let small = |l: usize| {
                    let own = h[(l, l)].abs() + h[(l - 1, l - 1)].abs();
                    h[(l, l - 1)].abs() <= f64::EPSILON * if own == 0.0 { scale } else { own }
                };
                let start = (1..=n).rev().find(|l| small(*l)).unwrap_or(0);
                if start == n {
                    found.push((h[(n, n)] + shift, 0.0));
                    end -= 1;
                    break;
                }
                let (x, y, w) = (h[(n, n)], h[(n - 1, n - 1)], h[(n, n - 1)] * h[(n - 1, n)]);
                if start + 1 == n {
                    found.extend(pair(x, y, w, shift));
                    end -= 2;
                    break;
                }
                if tries == SWEEPS {
                    return None;
                }
                let (mut x, mut y, mut w) = (x, y, w);
                if tries == 10 || tries == 20 || tries == 40 {
                    // An exceptional shift breaks a cycle.
                    shift += x;
                    (0..=n).for_each(|i| h[(i, i)] -= x);
                    let s = h[(n, n - 1)].abs() + h[(n - 1, n - 2)].abs();
                    (x, y, w) = (0.75 * s, 0.75 * s, -0.4375 * s * s);
                }
                tries += 1;
                h.double_step(start, n, (x, y, w));
            }
        }
        Some(found)
    }

    /// To upper Hessenberg form by Householder's reflections.
    fn hessenberg(&mut self) {
        let n = self.rows;
        for k in 0..n.saturating_sub(2) {
            let mut v: Vec<f64> = (k + 1..n).map(|i| self[(i, k)]).collect();
            let length = dot(&v, &v).sqrt();
            if length == 0.0 {
                continue;
            }
            v[0] += length.copysign(v[0]);
            let of = dot(&v, &v);
            for j in 0..n {
                let along = 2.0 * v.iter().enumerate().map(|(i, v)| v * self[(k + 1 + i, j)]).sum::<f64>() / of;
                v.iter().enumerate().for_each(|(i, v)| self[(k + 1 + i, j)] -= along * v);
            }
            for i in 0..n {
                let along = 2.0 * v.iter().enumerate().map(|(j, v)| v * self[(i, k + 1 + j)]).sum::<f64>() / of;
                v.iter().enumerate().for_each(|(j, v)| self[(i, k + 1 + j)] -= along * v);
            }
            (k + 2..n).for_each(|i| self[(i, k)] = 0.0);
        }
    }

    /// A double QR step on rows `start ..= n` of a Hessenberg matrix, with the shifts of its last two rows.
    fn double_step(&mut self, start: usize, n: usize, (x, y, w): (f64, f64, f64)) {
        let first = |h: &Matrix, m: usize| {
            let z = h[(m, m)];
            let (r, s) = (x - z, y - z);
            let p = (r * s - w) / h[(m + 1, m)] + h[(m, m + 1)];
            let (q, r) = (h[(m + 1, m + 1)] - z - r - s, h[(m + 2, m + 1)]);
            let size = p.abs() + q.abs() + r.abs();
            (p / size, q / size, r / size)
        };
        // Two small elements one after the other are as good as one that is zero.
        let starts = |m: &usize| {
            let (p, q, r) = first(self, *m);
            let left = self[(*m, m - 1)].abs() * (q.abs() + r.abs());
            let right = p.abs() * (self[(m - 1, m - 1)].abs() + self[(*m, *m)].abs() + self[(m + 1, m + 1)].abs());
            left <= f64::EPSILON * right
        };
        let m = (start + 1..=n - 2).rev().find(starts).unwrap_or(start);
        let (mut p, mut q, mut r) = first(self, m);
        for k in m..n {
            let last = k + 1 == n;
            if k > m {
                (p, q, r) = (self[(k, k - 1)], self[(k + 1, k - 1)], if last { 0.0 } else { self[(k + 2, k - 1)] });
            }
            let length = (p * p + q * q + r * r).sqrt().copysign(p);
            if length == 0.0 {
                continue;
            }
            if k > m {
                self[(k, k - 1)] = -length;
                self[(k + 1, k - 1)] = 0.0;
                if !last {
                    self[(k + 2, k - 1)] = 0.0;
                }
            } else if m > start {
                self[(k, k - 1)] = -self[(k, k - 1)];
            }
            let v = [1.0, q / (p + length), r / (p + length)];
            let by = (p + length) / length;
            let width = if last { 2 } else { 3 };
            for j in k..=n {
                let along = by * (0..width).map(|i| v[i] * self[(k + i, j)]).sum::<f64>();
                (0..width).for_each(|i| self[(k + i, j)] -= along * v[i]);
            }
            for i in start..=n.min(k + 3) {
                let along = by * (0..width).map(|j| v[j] * self[(i, k + j)]).sum::<f64>();
                (0..width).for_each(|j| self[(i, k + j)] -= along * v[j]);
            }
        }
    }

    /// The singular values of a square matrix, greatest first, with its left vectors as rows and its right vectors as rows. One-sided Jacobi.
    fn square_svd(&self) -> (Vec<f64>, Matrix, Matrix) {
        let n = self.rows;
        // Rows of `a` become `sigma v`, those of `u` the left vectors: `u self = a`.
        let (mut a, mut u) = (self.clone(), Matrix::identity(n));
        for _ in 0..SWEEPS {
            let mut turned = false;
            for i in 0..n {
                for j in i + 1..n {
                    let (x, y, xy) = (dot(a.row(i), a.row(i)), dot(a.row(j), a.row(j)), dot(a.row(i), a.row(j)));
                    if xy.abs() <= 1e-15 * (x * y).sqrt() || xy == 0.0 {
                        continue;
                    }
                    turned = true;
                    let zeta = (y - x) / (2.0 * xy);
                    let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                    let cos = 1.0 / (1.0 + t * t).sqrt();
                    a.turn(i, j, cos, cos * t);
                    u.turn(i, j, cos, cos * t);
                }
            }
            if !turned {
                break;
            }
        }
        let sizes: Vec<f64> = (0..n).map(|i| dot(a.row(i), a.row(i)).sqrt()).collect();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|i, j| sizes[*j].total_cmp(&sizes[*i]));
        let by = |i: usize| if sizes[i] > 0.0 { 1.0 / sizes[i] } else { 0.0 };
        let right = order.iter().flat_map(|i| a.row(*i).iter().map(move |x| x * by(*i))).collect();
        let left = order.iter().flat_map(|i| u.row(*i).to_vec()).collect();
        (order.iter().map(|i| sizes[*i]).collect(), Matrix::new(n, n, left), Matrix::new(n, n, right))
    }

    /// Turns rows `i` and `j` in their plane.
    fn turn(&mut self, i: usize, j: usize, cos: f64, sin: f64) {
        for c in 0..self.cols {
            let (x, y) = (self[(i, c)], self[(j, c)]);
            self[(i, c)] = cos * x - sin * y;
            self[(j, c)] = sin * x + cos * y;
        }
    }
}

/// The singular values of `leftᵀ right`, both `[rank, width]`, greatest first, with the left and the right singular vectors as rows, `[rank, width]`.
pub(super) fn svd_of_product(left: &Matrix, right: &Matrix) -> (Vec<f64>, Matrix, Matrix) {
    let ((l, p), (r, q)) = (left.orthonormal_rows(), right.orthonormal_rows());
    let (sizes, u, v) = l.t().times(&r).square_svd();
    (sizes, u.times(&p), v.times(&q))
}

/// The two eigenvalues of the last block of two rows.
fn pair(x: f64, y: f64, w: f64, shift: f64) -> [(f64, f64); 2] {
    let p = 0.5 * (y - x);
    let q = p * p + w;
    let root = q.abs().sqrt();
    if q < 0.0 {
        return [(x + p + shift, root), (x + p + shift, -root)];
    }
    let z = p + root.copysign(p);
    let second = if z == 0.0 { x } else { x - w / z };
    [(x + z + shift, 0.0), (second + shift, 0.0)]
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: usize, cols: usize, seed: u64) -> Matrix {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        Matrix::new(rows, cols, (0..rows * cols).map(|_| next()).collect())
    }

    #[test]
    fn eigenvalues_have_the_sums_of_powers_of_their_matrix() {
        for n in [1, 2, 3, 5, 16, 33, 64] {
            let m = random(n, n, n as u64 + 1);
            let values = m.eigenvalues().unwrap();
            assert_eq!(values.len(), n);
            let (mut power, mut of) = (m.clone(), values.clone());
            for k in 1..=4 {
                let trace: f64 = (0..n).map(|i| power[(i, i)]).sum();
                let sum: f64 = of.iter().map(|z| z.0).sum();
                assert!((trace - sum).abs() < 1e-9 * (1.0 + trace.abs()), "{n}: power {k}: {sum} for {trace}");
                power = power.times(&m);
                of = of.iter().zip(&values).map(|(a, b)| (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)).collect();
            }
        }
        // A rotation and a double eigenvalue.
        let turn = Matrix::new(3, 3, vec![0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0]).eigenvalues().unwrap();
        assert!(
            turn.iter().any(|z| (z.0.abs() < 1e-12) && (z.1 - 1.0).abs() < 1e-12) && turn.contains(&(2.0, 0.0)),
            "{turn:?}"
        );
        let zero = Matrix::new(4, 4, vec![0.0; 16]).eigenvalues().unwrap();
        assert!(zero.iter().all(|z| *z == (0.0, 0.0)));
    }

    #[test]
    fn singular_vectors_make_the_matrix_again() {
        for (rank, width) in [(1, 1), (3, 7), (8, 8), (16, 40)] {
            let (left, mut right) = (random(rank, width, 3), random(rank, width, 5));
            if rank == 8 {
                // A rank that is lower than the width of the head.
                let first = right.row(0).to_vec();
                right.data[width..2 * width].copy_from_slice(&first);
            }
            let whole = left.t().times(&right);
            let (sizes, u, v) = svd_of_product(&left, &right);
            assert!(sizes.is_sorted_by(|a, b| a >= b));
            let mut again = Matrix::new(width, width, vec![0.0; width * width]);
            for (i, size) in sizes.iter().enumerate() {
                for (a, x) in u.row(i).iter().enumerate() {
                    for (b, y) in v.row(i).iter().enumerate() {
                        again[(a, b)] += size * x * y;
                    }
                }
            }
            let off = again.data.iter().zip(&whole.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-12 * whole.norm().max(1.0), "{rank} x {width}: {off}");
        }
    }
}
