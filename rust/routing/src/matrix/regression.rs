//! Robust linear regression that forgets: how much each base is believed.

/// Least squares with Huber's weights (1964), exponential forgetting, and a ridge towards a prior.
#[derive(Clone, Debug)]
pub(crate) struct Regression<const N: usize> {
    normal: [[f64; N]; N],
    right: [f64; N],
    weights: [f64; N],
    prior: [f64; N],
    ridge: f64,
    /// What remains of a sample's say after each later one.
    keep: f64,
    /// Error beyond which a sample counts with its sign only.
    huber: f64,
}

impl<const N: usize> Regression<N> {
    pub(crate) fn new(prior: [f64; N], ridge: f64, samples_kept: f64, huber: f64) -> Self {
        Self {
            normal: [[0.0; N]; N],
            right: [0.0; N],
            weights: prior,
            prior,
            ridge,
            keep: 1.0 - 1.0 / samples_kept,
            huber,
        }
    }

    pub(crate) fn weights(&self) -> &[f64; N] {
        &self.weights
    }

    pub(crate) fn value(&self, features: &[f32; N]) -> f32 {
        let products = self.weights.iter().zip(features);
        products
            .map(|(weight, feature)| weight * f64::from(*feature))
            .sum::<f64>() as f32
    }

    pub(crate) fn push(&mut self, features: &[f32; N], value: f32) {
        let error = f64::from((value - self.value(features)).abs());
        let weight = if error > self.huber {
            self.huber / error
        } else {
            1.0
        };
        for row in 0..N {
            let scaled = weight * f64::from(features[row]);
            self.right[row] = self.right[row] * self.keep + scaled * f64::from(value);
            for (cell, feature) in self.normal[row].iter_mut().zip(features).take(row + 1) {
                *cell = *cell * self.keep + scaled * f64::from(*feature);
            }
        }
    }

    /// Takes what was pushed into the weights.
    pub(crate) fn settle(&mut self) {
        let (mut a, mut x) = (self.normal, self.right);
        for row in 0..N {
            a[row][row] += self.ridge;
            x[row] += self.ridge * self.prior[row];
            for column in 0..=row {
                let known: f64 = (0..column).map(|at| a[row][at] * a[column][at]).sum();
                let rest = a[row][column] - known;
                a[row][column] = if row == column {
                    rest.max(1e-9).sqrt()
                } else {
                    rest / a[column][column]
                };
            }
            let known: f64 = (0..row).map(|at| a[row][at] * x[at]).sum();
            x[row] = (x[row] - known) / a[row][row];
        }
        for row in (0..N).rev() {
            let known: f64 = (row + 1..N).map(|at| a[at][row] * x[at]).sum();
            x[row] = (x[row] - known) / a[row][row];
        }
        if x.iter().all(|weight| weight.is_finite()) {
            self.weights = x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_do_not_move_what_most_samples_say() {
        let mut regression = Regression::new([0.0, 0.0], 1e-3, 1e4, 0.1);
        for step in 0..2000_u32 {
            let x = (step % 17) as f32;
            let wrong = if step % 10 == 0 { 50.0 } else { 0.0 };
            regression.push(&[x, 1.0], 3.0 * x + 1.0 + wrong);
            if step % 8 == 0 {
                regression.settle();
            }
        }
        let [slope, base] = *regression.weights();
        assert!(
            (slope - 3.0).abs() < 0.05 && (base - 1.0).abs() < 0.3,
            "{slope} {base}"
        );
    }
}
