//! **Rendezvous hashing** (highest random weight): who of several agents is asked for a thing, without asking anybody. Each
//! computes the same from the same members; when a member comes or goes, only its own share moves.
use crate::AgentId;

/// The weight of an agent for a key: FNV-1a of both, then a finisher, so that near ids lie far apart. Part of what agents agree
/// on: all must compute the same.
pub fn weight(key: impl IntoIterator<Item = u8>, agent: AgentId) -> u64 {
    let bytes = key.into_iter().chain(agent.0.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_are_what_agents_of_other_versions_compute() {
        let weights = [0, 1, 2].map(|agent| weight(*b"a key", AgentId(agent)));
        assert_eq!(
            weights,
            [
                17_476_129_140_567_667_813,
                4_787_598_970_871_580_550,
                10_676_371_417_811_707_239,
            ]
        );
    }

    #[test]
    fn a_member_that_comes_takes_its_share_and_moves_nothing_else() {
        let owner = |key: u32, members: u32| {
            (0..members).max_by_key(|agent| weight(key.to_be_bytes(), AgentId(*agent)))
        };
        let (before, after): (Vec<_>, Vec<_>) =
            (0..1_000).map(|key| (owner(key, 4), owner(key, 5))).unzip();
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a);
        let moved: Vec<_> = moved.map(|(_, to)| *to).collect();
        assert!(moved.iter().all(|to| *to == Some(4)));
        assert!((150..250).contains(&moved.len()), "{} of 1000", moved.len());
    }
}
