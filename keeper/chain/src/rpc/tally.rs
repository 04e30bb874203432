//! What is believed of what several endpoints say. Pure: it knows neither clocks nor sockets.
//!
//! An answer is believed once `needed` endpoints gave the same. Where fewer than that can answer at all, those that do are
//! believed as long as none contradicts another. Contradictions are settled by asking more endpoints, and where
//! none is left and none has enough beside it, nothing is believed.

/// The answers to one request so far.
#[derive(Clone, Debug)]
pub(super) struct Tally<E> {
    needed: usize,
    /// Who said what.
    ballots: Vec<(usize, E)>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Wait for those that were asked.
    Wait,
    /// Ask another endpoint.
    Ask,
    /// Believe what this endpoint said.
    Believe(usize),
    /// They contradict each other, and there is nobody left to ask.
    Split,
    /// Nobody answered.
    Nothing,
}

/// How the time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// What is outstanding may well come.
    InTime,
    /// It takes longer than such answers do.
    Late,
    /// It is waited for no longer where anything else will do.
    Overdue,
}

impl<E: PartialEq> Tally<E> {
    pub(super) fn new(needed: usize) -> Self {
        Self { needed: needed.max(1), ballots: Vec::new() }
    }

    /// An endpoint gave an answer.
    pub(super) fn cast(&mut self, endpoint: usize, answer: E) {
        self.ballots.push((endpoint, answer));
    }

    /// What to do with `outstanding` answers to come and `left` endpoints that were not asked.
    pub(super) fn verdict(&self, outstanding: usize, left: usize, pace: Pace) -> Verdict {
        let most = self.most();
        let agreeing = most.map_or(0, |(_, count)| count);
        if let Some((endpoint, count)) = most
            && count >= self.needed
        {
            return Verdict::Believe(endpoint);
        }
        let is_contradicted = agreeing < self.ballots.len();
        let wanted = self.needed - agreeing;
        if left > 0 && (outstanding < wanted || pace != Pace::InTime || (is_contradicted && outstanding == 0)) {
            return Verdict::Ask;
        }
        let is_over = outstanding == 0 || (pace == Pace::Overdue && !is_contradicted && agreeing > 0);
        match most {
            _ if !is_over => Verdict::Wait,
            None => Verdict::Nothing,
            Some(_) if is_contradicted => Verdict::Split,
            Some((endpoint, _)) => Verdict::Believe(endpoint),
        }
    }

    /// Who gave the same answer as `endpoint`, and who gave another.
    pub(super) fn sides(&self, endpoint: usize) -> (Vec<usize>, Vec<usize>) {
        let Some(answer) = self.ballots.iter().find(|(who, _)| *who == endpoint).map(|(_, answer)| answer) else {
            return (Vec::new(), Vec::new());
        };
        let (same, other): (Vec<_>, Vec<_>) = self.ballots.iter().partition(|(_, given)| given == answer);
        let who = |ballots: Vec<&(usize, E)>| ballots.into_iter().map(|(who, _)| *who).collect();
        (who(same), who(other))
    }

    /// The answer that most gave, by who gave it first.
    fn most(&self) -> Option<(usize, usize)> {
        let counted = self
            .ballots
            .iter()
            .map(|(endpoint, answer)| (*endpoint, self.ballots.iter().filter(|(_, other)| other == answer).count()));
        counted.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An endpoint: what it answers, or that it does not, and how long it takes.
    type Endpoint = (Option<u8>, u32);

    /// Plays a request: endpoints are asked in order, and answer after their time.
    fn play(needed: usize, endpoints: &[Endpoint]) -> (Verdict, usize) {
        const LATE: u32 = 10;
        const OVERDUE: u32 = 40;
        let mut tally = Tally::new(needed);
        let (mut asked, mut answered) = (Vec::<u32>::new(), vec![false; endpoints.len()]);
        for now in 0..10_000 {
            for (place, since) in asked.iter().enumerate() {
                let (answer, takes) = endpoints[place];
                if !answered[place] && now >= since + takes {
                    answered[place] = true;
                    if let Some(answer) = answer {
                        tally.cast(place, answer);
                    }
                }
            }
            loop {
                let outstanding = asked.len() - answered.iter().filter(|answered| **answered).count();
                let waited = asked.last().map_or(0, |since| now - since);
                let pace = if waited >= OVERDUE {
                    Pace::Overdue
                } else if waited >= LATE {
                    Pace::Late
                } else {
                    Pace::InTime
                };
                match tally.verdict(outstanding, endpoints.len() - asked.len(), pace) {
                    Verdict::Ask => asked.push(now),
                    Verdict::Wait => break,
                    ended => return (ended, asked.len()),
                }
            }
        }
        unreachable!("a request ends")
    }

    #[test]
    fn two_that_agree_are_believed_and_no_third_is_asked() {
        assert_eq!(play(2, &[(Some(1), 1), (Some(1), 2), (Some(9), 0)]), (Verdict::Believe(0), 2));
        // One alone is enough where that is what is wanted, and a second is asked when it is late.
        assert_eq!(play(1, &[(Some(1), 9), (Some(1), 0)]), (Verdict::Believe(0), 1));
        assert_eq!(play(1, &[(Some(1), 500), (Some(1), 0)]), (Verdict::Believe(1), 2));
    }

    #[test]
    fn a_contradiction_is_settled_by_a_third_or_by_nobody() {
        assert_eq!(play(2, &[(Some(9), 0), (Some(1), 2), (Some(1), 3)]), (Verdict::Believe(1), 3));
        assert_eq!(play(2, &[(Some(9), 0), (Some(1), 2)]), (Verdict::Split, 2));
        assert_eq!(play(2, &[(Some(9), 0), (Some(1), 2), (None, 3)]), (Verdict::Split, 3));
    }

    #[test]
    fn where_too_few_answer_those_that_do_are_believed_after_a_while() {
        assert_eq!(play(2, &[(None, 1), (Some(1), 2)]), (Verdict::Believe(1), 2));
        assert_eq!(play(2, &[(Some(1), 2), (None, 9_000)]), (Verdict::Believe(0), 2));
        assert_eq!(play(2, &[(None, 1), (None, 2)]), (Verdict::Nothing, 2));
    }

    proptest! {
        /// With as many honest endpoints as must agree, what one liar says is never believed, whatever it says and however
        /// fast it is, and the truth always is.
        #[test]
        fn one_liar_is_never_believed(
            needed in 2_usize..4,
            honest in prop::collection::vec(0_u32..9, 4..7),
            lie in prop::option::of(1_u8..5),
            takes in 0_u32..9_000,
            place in 0_usize..7,
        ) {
            let mut endpoints: Vec<Endpoint> = honest.iter().map(|takes| (Some(0), *takes)).collect();
            endpoints.insert(place.min(honest.len()), (lie, takes));
            let (verdict, _) = play(needed, &endpoints);
            match verdict {
                Verdict::Believe(who) => prop_assert_eq!(endpoints[who].0, Some(0)),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        /// Whatever is said: an answer is believed only if enough gave it, or if nobody who answered gave another.
        #[test]
        fn nothing_is_believed_against_a_contradiction(
            needed in 1_usize..4,
            endpoints in prop::collection::vec((prop::option::of(0_u8..3), 0_u32..200), 1..6),
        ) {
            let (verdict, asked) = play(needed, &endpoints);
            let said: Vec<u8> = endpoints[..asked].iter().filter_map(|(answer, _)| *answer).collect();
            match verdict {
                Verdict::Believe(who) => {
                    let answer = endpoints[who].0.unwrap();
                    let beside = said.iter().filter(|other| **other == answer).count();
                    // Where fewer agree than are needed, everyone was asked.
                    prop_assert!(beside >= needed || asked == endpoints.len());
                }
                Verdict::Nothing => prop_assert!(said.is_empty() && asked == endpoints.len()),
                Verdict::Split => prop_assert!(said.iter().any(|other| *other != said[0])),
                other => prop_assert!(false, "{:?} is no end", other),
            }
        }
    }
}
