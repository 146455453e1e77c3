//! A member by the classic protocol.
use std::collections::{BTreeMap, BTreeSet};

use sh_client::Connection;

use super::{
    member::Lost,
    requests::{self, Identity},
};
use crate::{sim::world::World, torture::chance::Chance};

/// What a heartbeat says: who the member is, and what it owns; or what it lost, and by which error code.
pub type Beat = Result<(Identity, BTreeSet<i32>), (Lost, Option<i16>)>;

pub struct Classic {
    who: Identity,
    owned: BTreeSet<i32>,
    must_join: bool,
}

/// What an error code means to a member.
pub fn lost(code: Option<i16>) -> (Lost, Option<i16>) {
    let lost = match code {
        // The coordinator's three.
        None | Some(14..=16) => Lost::Connection,
        Some(_) => Lost::Membership,
    };
    (lost, code)
}

impl Classic {
    pub fn new(group: String) -> Classic {
        Classic {
            who: Identity {
                group,
                member: String::new(),
                generation: -1,
            },
            owned: BTreeSet::new(),
            must_join: true,
        }
    }

    pub fn must_join(&self) -> bool {
        self.must_join
    }

    pub async fn beat(&mut self, to: &Connection, world: &World, chance: &mut Chance) -> Beat {
        if !self.must_join {
            let answer = to.call(&requests::heartbeat(&self.who), 4).await;
            match answer.ok().map(|answer| answer.error_code) {
                Some(0) => return Ok((self.who.clone(), self.owned.clone())),
                // ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS
                Some(22 | 27) => {
                    self.must_join = true;
                    // Once more, when all is given back.
                    return Ok((self.who.clone(), BTreeSet::new()));
                }
                code => return Err(lost(code)),
            }
        }
        let members = self.join(to).await?;
        let shares = share(members, world.plan.partitions, chance);
        let answer = to.call(&requests::sync(&self.who, shares), 5).await;
        let answer = answer.map_err(|_| lost(None))?;
        match answer.error_code {
            0 => {
                self.owned = requests::assigned(answer.assignment).unwrap_or_default();
                self.must_join = false;
                Ok((self.who.clone(), self.owned.clone()))
            }
            22 | 27 => Ok((self.who.clone(), BTreeSet::new())),
            code => Err(lost(Some(code))),
        }
    }

    /// The ids of all members, if this one leads.
    async fn join(&mut self, to: &Connection) -> Result<Vec<String>, (Lost, Option<i16>)> {
        let mut answer = to.call(&requests::join(&self.who), 9).await;
        // MEMBER_ID_REQUIRED
        if let Ok(told) = &answer
            && told.error_code == 79
        {
            self.who.member = told.member_id.to_string();
            answer = to.call(&requests::join(&self.who), 9).await;
        }
        let answer = answer.map_err(|_| lost(None))?;
        if answer.error_code != 0 {
            return Err(lost(Some(answer.error_code)));
        }
        self.who.member = answer.member_id.to_string();
        self.who.generation = answer.generation_id;
        let leads = answer.leader == answer.member_id;
        let members = answer.members.into_iter();
        Ok(members
            .filter(|_| leads)
            .map(|m| m.member_id.to_string())
            .collect())
    }

    pub async fn leave(&self, to: &Connection) {
        // Whether it was heard or not: this member does not come back.
        let _ = to.call(&requests::leave(&self.who), 5).await;
    }
}

/// Each partition to a member by chance: what one leader says twice differs.
fn share(
    members: Vec<String>,
    partitions: i32,
    chance: &mut Chance,
) -> Vec<(String, BTreeSet<i32>)> {
    let mut shares: BTreeMap<String, BTreeSet<i32>> = members
        .iter()
        .map(|m| (m.clone(), BTreeSet::new()))
        .collect();
    for partition in 0..partitions {
        if members.is_empty() {
            break;
        }
        let member = &members[chance.below(members.len())];
        if let Some(share) = shares.get_mut(member) {
            share.insert(partition);
        }
    }
    shares.into_iter().collect()
}
