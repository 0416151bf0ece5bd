//! The first place where two parties differ, in a row of things that they agree on at its start.

use super::DisputeError;

/// Into how many parts a row is cut at a time: the defender posts one thing less.
pub const PARTS: u64 = 16;

/// A row between `low`, where both agree, and `high`, where they differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Bisection<T> {
    /// Where both agree.
    pub low: u64,
    /// Where they differ; above `low`.
    pub high: u64,
    /// What is agreed on at `low`.
    pub agreed: T,
    /// What the defender claims at `high`.
    pub claimed: T,
    /// What the defender claims at [`Bisection::points`]; empty while it is his turn.
    pub posted: Vec<T>,
}

impl<T: Copy> Bisection<T> {
    pub(super) fn new([low, high]: [u64; 2], agreed: T, claimed: T) -> Self {
        Self {
            low,
            high,
            agreed,
            claimed,
            posted: Vec::new(),
        }
    }

    /// The places strictly between `low` and `high` at which the defender posts, ascending: as even as can be.
    pub fn points(&self) -> Vec<u64> {
        let gap = self.high.saturating_sub(self.low);
        let parts = gap.min(PARTS);
        (1..parts)
            .map(|part| self.low + gap / parts * part + gap % parts * part / parts)
            .collect()
    }

    pub(super) fn post(&mut self, posted: Vec<T>) -> Result<(), DisputeError> {
        let (found, needed) = (posted.len(), self.points().len());
        if found != needed {
            return Err(DisputeError::Count {
                what: "claims",
                found,
                needed,
            });
        }
        self.posted = posted;
        Ok(())
    }

    /// Goes on with interval `pick` of those that the posted claims make.
    pub(super) fn pick(&mut self, pick: u64) -> Result<(), DisputeError> {
        let points = self.points();
        let bound = self.posted.len();
        let at = usize::try_from(pick).ok().filter(|at| *at <= bound);
        let at = at.ok_or(DisputeError::Pick { found: pick, bound })?;
        if let Some((high, claimed)) = points.get(at).zip(self.posted.get(at)) {
            (self.high, self.claimed) = (*high, *claimed);
        }
        let before = at.checked_sub(1);
        let low = before.and_then(|before| points.get(before).zip(self.posted.get(before)));
        if let Some((low, agreed)) = low {
            (self.low, self.agreed) = (*low, *agreed);
        }
        self.posted.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_evenly_and_searched_to_the_end() {
        for high in [1u64, 2, 3, 15, 16, 17, 31, 100, 78_400, u64::MAX] {
            for target in [1, high / 3, high / 2, high].map(|target| target.max(1)) {
                // Claims are right below `target` and wrong from there on.
                let claim = |at: u64| u64::from(at >= target);
                let mut row = Bisection::new([0, high], 0, 1);
                let mut rounds = 0;
                while row.high - row.low > 1 {
                    let points = row.points();
                    assert!(points.windows(2).all(|pair| pair[0] < pair[1]));
                    assert!(points.first() > Some(&row.low) && points.last() < Some(&row.high));
                    assert!(row.post(vec![0; points.len() + 1]).is_err());
                    row.post(points.iter().map(|at| claim(*at)).collect()).unwrap();
                    let pick = row
                        .posted
                        .iter()
                        .position(|claim| *claim == 1)
                        .unwrap_or(row.posted.len());
                    assert!(row.pick(row.posted.len() as u64 + 1).is_err());
                    row.pick(pick as u64).unwrap();
                    rounds += 1;
                }
                assert_eq!((row.high, row.agreed, row.claimed), (target, 0, 1));
                assert!(rounds <= 16);
            }
        }
    }
}
