//! Comparing the leaves of all logs of one scope and lane, and sending what lies above.
//!
//! A round: each side lists its leaves, whole or by buckets; where a side sees another id at a number
//! that it holds, both name ids further down until the branches meet; then each sends everything
//! above what the other was shown to have.

use super::Session;
use super::lane::Sending;
use super::opening::first_8;
use super::port::{Millis, Notice, PeerFault, SessionError};
use crate::holdings::{Holdings, HoldingsError, Leaf};
use cairn_wire::frame::{ControlFrame, JournalMark, LeafLine, LeafList, ScopeLane};
use cairn_wire::ids::{EntryId, LogId};
use cairn_wire::{hash, limits};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Rounds of comparing one scope and lane before both sides leave it at that.
const ROUNDS_MAX: u32 = 3;
/// Rounds that a peer may ask for, equality in between or not.
const ROUNDS_ASKED_MAX: u32 = 64;
/// Leaves that a peer may list in one round.
const LINES_MAX: usize = 64 * 1024;
/// Probes that a peer may send in one session.
const PROBES_MAX: usize = 16 * 1024;
/// Entries of a branch that are walked down in search of a common one; beyond, all of it is sent.
const WALK_MAX: u64 = 16 * 1024;

/// A tag of a log, salted for one session.
pub(super) type Tag = [u8; 8];
/// How an entry is named in lists: its number and the first bytes of its id.
type Named = (u64, [u8; 8]);

/// One round of comparing.
#[derive(Debug)]
pub(super) struct Comparison {
    /// End of my journal when the leaves were listed.
    end: JournalMark,
    /// My leaves as they were listed. What came since is streamed from `end` on.
    mine: BTreeMap<Tag, Vec<Leaf>>,
    /// What stood above gaps then: no list shows it, and `end` counts it.
    detached: VecDeque<EntryId>,
    /// The buckets to compare, where not all.
    differing: Option<BTreeSet<u8>>,
    listed_whole: bool,
    theirs: Theirs,
    /// What the peer listed of branches that were strange here, until it is held.
    strange: Vec<(LogId, Named)>,
    /// Tags for which ids further down were sent.
    probed: BTreeSet<Tag>,
    /// Of these, those that the peer has not answered.
    unanswered: BTreeSet<Tag>,
    /// Tags for which the peer's ids were taken.
    heard: BTreeSet<Tag>,
}

#[derive(Debug)]
enum Theirs {
    /// Nothing came yet.
    Awaited,
    /// Lists of buckets are coming in; so far these lines.
    Coming(Vec<LeafLine>),
    /// All that will come.
    Known(BTreeMap<Tag, Vec<Named>>),
}

/// Entries of one log to be sent in order, or single ones.
#[derive(Debug)]
pub(super) struct Stretch {
    log: Option<LogId>,
    next: u64,
    last: u64,
    /// Left out: what the peer was shown to have.
    shown: Vec<Named>,
    ids: VecDeque<EntryId>,
}

impl Stretch {
    fn single(ids: VecDeque<EntryId>) -> Self {
        Self {
            log: None,
            next: 1,
            last: 0,
            shown: Vec::new(),
            ids,
        }
    }

    /// The id to send next.
    pub fn peek(&mut self, holdings: &dyn Holdings) -> Result<Option<EntryId>, HoldingsError> {
        while self.ids.is_empty() && self.next <= self.last {
            let Some(log) = &self.log else {
                break;
            };
            let number = self.next;
            self.next += 1;
            let ids = holdings.ids_at(log, number)?;
            let shown = &self.shown;
            self.ids.extend(
                ids.into_iter()
                    .filter(|id| !shown.contains(&(number, id.short()))),
            );
        }
        Ok(self.ids.front().copied())
    }

    /// The id was sent.
    pub fn advance(&mut self) {
        self.ids.pop_front();
    }
}

impl Comparison {
    /// Is everything known and asked for?
    pub fn is_complete(&self) -> bool {
        matches!(self.theirs, Theirs::Known(_)) && self.unanswered.is_empty()
    }

    /// Was something strange here that is not known to be held by now?
    pub fn has_strange(&self) -> bool {
        !self.strange.is_empty()
    }

    /// May the peer's word count that it has sent all? It may have said so before it saw my probe:
    /// where its own leaf is the lower one, it does not know that the branches part. So what was
    /// strange must be held, with all before it.
    pub fn is_answered(&mut self, holdings: &dyn Holdings) -> Result<bool, HoldingsError> {
        while let Some((log, named)) = self.strange.last() {
            if !is_held(log, named, holdings)? {
                return Ok(false);
            }
            self.strange.pop();
        }
        Ok(self.is_complete())
    }

    fn lines<'a>(&'a self, buckets: &'a BTreeSet<u8>) -> impl Iterator<Item = LeafLine> + 'a {
        self.mine
            .iter()
            .filter(move |(tag, _)| buckets.contains(&tag[0]))
            .flat_map(|(tag, leaves)| {
                leaves.iter().map(|leaf| LeafLine {
                    tag: *tag,
                    number: leaf.number,
                    id: leaf.id.short(),
                })
            })
    }

    fn bucket_hashes(&self) -> Vec<[u8; 8]> {
        let lines: Vec<LeafLine> = self.lines(&all_buckets()).collect();
        bucket_hashes(&lines)
    }
}

impl Session {
    /// Begins a round, or leaves it at that after too many; a peer that asks is always answered.
    pub(super) fn compare(
        &mut self,
        now: Millis,
        of: ScopeLane,
        asked: bool,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let salt = self.config.salt;
        let Some(lane) = self.lanes.get_mut(&of) else {
            return Ok(());
        };
        if lane.rounds >= ROUNDS_MAX && !asked {
            self.give_up(of, holdings);
            return Ok(());
        }
        lane.rounds += 1;
        lane.touch(now);
        lane.sending = Sending::Comparing;
        let end = holdings.journal_end(of);
        let mine = by_tag(&salt, holdings.leaves(of));
        let count: usize = mine.values().map(Vec::len).sum();
        let comparison = Comparison {
            end,
            mine,
            detached: holdings.detached(of).into(),
            differing: None,
            listed_whole: count <= limits::LEAVES_LISTED_MAX,
            theirs: Theirs::Awaited,
            strange: Vec::new(),
            probed: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            heard: BTreeSet::new(),
        };
        let list = if comparison.listed_whole {
            LeafList::All(comparison.lines(&all_buckets()).collect())
        } else {
            LeafList::Buckets(comparison.bucket_hashes())
        };
        lane.comparison = Some(comparison);
        self.say(&ControlFrame::Leaves {
            of,
            answers: asked,
            end,
            list,
        });
        Ok(())
    }

    /// Comparing has not made this lane equal and will not: what was shown was exchanged.
    fn give_up(&mut self, of: ScopeLane, holdings: &dyn Holdings) {
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        if !lane.gave_up {
            lane.gave_up = true;
            lane.comparison = None;
            if lane.sending != Sending::Streaming {
                lane.stream_from(holdings.journal_end(of));
            }
            self.notice(Notice::NotEqual(of));
        }
    }

    pub(super) fn take_leaves(
        &mut self,
        now: Millis,
        of: ScopeLane,
        answers: bool,
        end: JournalMark,
        list: LeafList,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let Some(lane) = self.lanes.get_mut(&of).filter(|it| it.is_mutual()) else {
            return Ok(());
        };
        lane.hear_end(end);
        let goes_on = match (&lane.comparison, &list) {
            (Some(known), LeafList::Bucketed { .. }) => !matches!(known.theirs, Theirs::Known(_)),
            (Some(known), _) => matches!(known.theirs, Theirs::Awaited),
            (None, _) => false,
        };
        if !goes_on {
            if answers {
                // To a list that no longer matters: both were proven equal meanwhile.
                return Ok(());
            }
            // The peer begins a round: it gets my list too.
            if lane.rounds >= ROUNDS_ASKED_MAX {
                return Err(PeerFault::Rounds.into());
            }
            self.compare(now, of, true, holdings)?;
        }
        match list {
            LeafList::All(lines) => {
                if lines.len() > limits::LEAVES_LISTED_MAX {
                    return Err(PeerFault::TooMany("leaves").into());
                }
                self.answer_buckets(of, &bucket_hashes(&lines));
                self.know_theirs(of, lines, holdings)
            }
            LeafList::Buckets(hashes) => {
                if hashes.len() != limits::LEAF_BUCKETS {
                    return Err(PeerFault::TooMany("buckets").into());
                }
                if let Some(comparison) = self.comparison(of) {
                    comparison.theirs = Theirs::Coming(Vec::new());
                }
                self.answer_buckets(of, &hashes);
                Ok(())
            }
            LeafList::Bucketed { lines, last } => self.take_bucketed(of, lines, last, holdings),
        }
    }

    fn take_bucketed(
        &mut self,
        of: ScopeLane,
        lines: Vec<LeafLine>,
        last: bool,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let Some(comparison) = self.comparison(of) else {
            return Ok(());
        };
        let Theirs::Coming(held) = &mut comparison.theirs else {
            return Err(PeerFault::OutOfTurn("leaves of buckets before their hashes").into());
        };
        if held.len() + lines.len() > LINES_MAX || lines.len() > limits::LEAVES_LISTED_MAX {
            return Err(PeerFault::TooMany("leaves").into());
        }
        held.extend(lines);
        if !last {
            return Ok(());
        }
        let lines = std::mem::take(held);
        self.know_theirs(of, lines, holdings)
    }

    /// Where my leaves were not listed whole: lists those of the buckets that differ.
    fn answer_buckets(&mut self, of: ScopeLane, theirs: &[[u8; 8]]) {
        let Some(comparison) = self.comparison(of) else {
            return;
        };
        if comparison.listed_whole && matches!(comparison.theirs, Theirs::Awaited) {
            return;
        }
        let mine = comparison.bucket_hashes();
        let differing: BTreeSet<u8> = (0..=u8::MAX)
            .filter(|at| mine.get(*at as usize) != theirs.get(*at as usize))
            .collect();
        let lines: Vec<LeafLine> = comparison.lines(&differing).collect();
        // Leaves of the other buckets are common to both.
        comparison.differing = Some(differing);
        if comparison.listed_whole {
            return;
        }
        let end = comparison.end;
        let mut parts: Vec<Vec<LeafLine>> = lines
            .chunks(limits::LEAVES_LISTED_MAX)
            .map(<[LeafLine]>::to_vec)
            .collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let count = parts.len();
        for (at, lines) in parts.into_iter().enumerate() {
            let list = LeafList::Bucketed {
                lines,
                last: at + 1 == count,
            };
            self.say(&ControlFrame::Leaves {
                of,
                answers: true,
                end,
                list,
            });
        }
    }

    /// The peer's leaves are known: plan what to send, probe where the branches are strange.
    fn know_theirs(
        &mut self,
        of: ScopeLane,
        lines: Vec<LeafLine>,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let mut theirs: BTreeMap<Tag, Vec<Named>> = BTreeMap::new();
        for line in lines {
            theirs
                .entry(line.tag)
                .or_default()
                .push((line.number, line.id));
        }
        let forked = forked_logs(&holdings.leaves(of));
        let Some(comparison) = self.comparison(of) else {
            return Ok(());
        };
        let differing = &comparison.differing;
        let mine: Vec<(Tag, Vec<Leaf>)> = comparison
            .mine
            .iter()
            .filter(|(tag, _)| differing.as_ref().is_none_or(|it| it.contains(&tag[0])))
            .map(|(tag, it)| (*tag, it.clone()))
            .collect();
        let detached = std::mem::take(&mut comparison.detached);
        let none = Vec::new();
        let mut plans = Vec::new();
        let mut strange = Vec::new();
        for (tag, leaves) in &mine {
            let shown = theirs.get(tag).unwrap_or(&none);
            let judgement = Judgement::of(leaves, shown, &forked, holdings)?;
            if let (Judgement::Probe(_), Some(leaf)) = (&judgement, leaves.first()) {
                strange.extend(shown.iter().map(|named| (leaf.log, *named)));
            }
            plans.push((*tag, judgement));
        }
        if let Some(comparison) = self.comparison(of) {
            comparison.theirs = Theirs::Known(theirs);
            comparison.strange = strange;
        }
        if !detached.is_empty() {
            self.plan(of, Stretch::single(detached));
        }
        for (tag, judgement) in plans {
            match judgement {
                Judgement::Nothing => {}
                Judgement::Send(stretch) => self.plan(of, stretch),
                Judgement::Probe(number) => self.send_probe(of, tag, number, holdings)?,
            }
        }
        self.stream_on(of);
        Ok(())
    }

    /// After a complete comparison the journal goes on from the end that was named in it.
    fn stream_on(&mut self, of: ScopeLane) {
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        let Some(comparison) = lane.comparison.as_ref().filter(|it| it.is_complete()) else {
            return;
        };
        let end = comparison.end;
        lane.compared = Some(end);
        if lane.sending == Sending::Comparing {
            lane.stream_from(end);
            lane.promised = end.position;
        }
    }

    fn plan(&mut self, of: ScopeLane, stretch: Stretch) {
        if let Some(lane) = self.lanes.get_mut(&of) {
            lane.plan.push_back(stretch);
        }
    }

    /// Names my ids of a log at `number`, and 1, 2, 4 … below it.
    fn send_probe(
        &mut self,
        of: ScopeLane,
        tag: Tag,
        number: u64,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        let Some(comparison) = self.comparison(of) else {
            return Ok(());
        };
        let Some(log) = comparison
            .mine
            .get(&tag)
            .and_then(|it| it.first())
            .map(|it| it.log)
        else {
            return Ok(());
        };
        comparison.probed.insert(tag);
        if !comparison.heard.contains(&tag) {
            comparison.unanswered.insert(tag);
        }
        let mut numbers = vec![number];
        let mut step = 1;
        while step < number {
            numbers.push(number - step);
            step *= 2;
        }
        let mut ids = Vec::new();
        for number in numbers {
            for id in attached_at(&log, number, holdings)? {
                if ids.len() < limits::PROBE_IDS_MAX {
                    ids.push((number, id.short()));
                }
            }
        }
        self.say(&ControlFrame::Probe { of, tag, ids });
        Ok(())
    }

    pub(super) fn take_probe(
        &mut self,
        of: ScopeLane,
        tag: Tag,
        ids: &[Named],
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        self.probes_received += 1;
        if ids.len() > limits::PROBE_IDS_MAX || self.probes_received > PROBES_MAX {
            return Err(PeerFault::TooMany("probes").into());
        }
        let Some(comparison) = self.comparison(of) else {
            return Ok(());
        };
        let Some(leaves) = comparison.mine.get(&tag).cloned() else {
            return Ok(());
        };
        if !comparison.heard.insert(tag) {
            return Ok(());
        }
        comparison.unanswered.remove(&tag);
        let answered = comparison.probed.contains(&tag);
        let forked = forked_logs(&holdings.leaves(of));
        let mut shown = match &comparison.theirs {
            Theirs::Known(theirs) => theirs.get(&tag).cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        shown.extend_from_slice(ids);
        if !answered {
            let number = ids.iter().map(|(number, _)| *number).max().unwrap_or(1);
            self.send_probe(of, tag, number, holdings)?;
        }
        if let Some(stretch) = stretch_above(&leaves, &shown, &forked, holdings)? {
            self.plan(of, stretch);
        }
        self.stream_on(of);
        Ok(())
    }

    /// Equal digests, other detached entries: name them, once.
    pub(super) fn compare_detached(&mut self, of: ScopeLane, holdings: &dyn Holdings) {
        let Some(lane) = self.lanes.get_mut(&of) else {
            return;
        };
        if lane.detached_sent {
            if lane.detached_received {
                self.give_up(of, holdings);
            }
            return;
        }
        self.say_detached(of, holdings);
    }

    fn say_detached(&mut self, of: ScopeLane, holdings: &dyn Holdings) {
        if let Some(lane) = self.lanes.get_mut(&of) {
            lane.detached_sent = true;
            lane.check_sent = None;
            lane.peer_check = None;
        }
        let mut ids = holdings.detached(of);
        ids.truncate(limits::DETACHED_IDS_MAX);
        self.say(&ControlFrame::Detached { of, ids });
    }

    pub(super) fn take_detached(
        &mut self,
        now: Millis,
        of: ScopeLane,
        ids: Vec<EntryId>,
        holdings: &dyn Holdings,
    ) -> Result<(), SessionError> {
        if ids.len() > limits::DETACHED_IDS_MAX {
            return Err(PeerFault::TooMany("detached entries").into());
        }
        let Some(lane) = self.lanes.get_mut(&of).filter(|it| it.is_mutual()) else {
            return Ok(());
        };
        if std::mem::replace(&mut lane.detached_received, true) {
            return Ok(());
        }
        lane.touch(now);
        let answered = lane.detached_sent;
        let full = ids.len() == limits::DETACHED_IDS_MAX;
        let last = ids.last().copied().filter(|_| full);
        let listed: BTreeSet<EntryId> = ids.into_iter().collect();
        let lacking: VecDeque<EntryId> = holdings
            .detached(of)
            .into_iter()
            .filter(|id| !listed.contains(id) && last.is_none_or(|last| *id < last))
            .collect();
        if !lacking.is_empty() {
            lane.plan.push_back(Stretch::single(lacking));
        }
        if !answered {
            self.say_detached(of, holdings);
        }
        Ok(())
    }

    fn comparison(&mut self, of: ScopeLane) -> Option<&mut Comparison> {
        self.lanes.get_mut(&of)?.comparison.as_mut()
    }
}

/// What one log asks for.
enum Judgement {
    /// The peer has all of it, or will say where it does not.
    Nothing,
    /// The peer lacks these.
    Send(Stretch),
    /// The peer shows an id that is strange at a number that is held here.
    Probe(u64),
}

impl Judgement {
    fn of(
        leaves: &[Leaf],
        shown: &[Named],
        forked: &BTreeSet<LogId>,
        holdings: &dyn Holdings,
    ) -> Result<Self, HoldingsError> {
        let Some(highest) = leaves.iter().map(|leaf| leaf.number).max() else {
            return Ok(Self::Nothing);
        };
        let log = leaves[0].log;
        let mut strange_above = false;
        let mut strange: Option<u64> = None;
        for named in shown {
            if is_held(&log, named, holdings)? {
                continue;
            }
            if named.0 > highest {
                strange_above = true;
            } else {
                strange = strange.max(Some(named.0));
            }
        }
        if let Some(number) = strange {
            return Ok(Self::Probe(number));
        }
        if strange_above {
            // The peer is ahead, or on a branch that forks below: then it probes.
            return Ok(Self::Nothing);
        }
        Ok(match stretch_above(leaves, shown, forked, holdings)? {
            Some(stretch) => Self::Send(stretch),
            None => Self::Nothing,
        })
    }
}

/// Is the entry held with all before it? (One above a gap says nothing of what is below.)
fn is_held(log: &LogId, named: &Named, holdings: &dyn Holdings) -> Result<bool, HoldingsError> {
    let ids = attached_at(log, named.0, holdings)?;
    Ok(ids.iter().any(|id| id.short() == named.1))
}

/// The ids held of a log at a number, but for those above a gap.
fn attached_at(
    log: &LogId,
    number: u64,
    holdings: &dyn Holdings,
) -> Result<Vec<EntryId>, HoldingsError> {
    let mut ids = holdings.ids_at(log, number)?;
    if !ids.is_empty() {
        let detached = holdings.detached(ScopeLane {
            scope: log.scope,
            lane: log.lane,
        });
        ids.retain(|id| detached.binary_search(id).is_err());
    }
    Ok(ids)
}

/// Logs with more than one end.
fn forked_logs(leaves: &[Leaf]) -> BTreeSet<LogId> {
    let mut seen = BTreeSet::new();
    leaves
        .iter()
        .map(|leaf| leaf.log)
        .filter(|log| !seen.insert(*log))
        .collect()
}

/// What of a log lies above what the peer was shown to have.
fn stretch_above(
    leaves: &[Leaf],
    shown: &[Named],
    forked: &BTreeSet<LogId>,
    holdings: &dyn Holdings,
) -> Result<Option<Stretch>, HoldingsError> {
    let missing: Vec<&Leaf> = leaves
        .iter()
        .filter(|leaf| !shown.contains(&(leaf.number, leaf.id.short())))
        .collect();
    let Some(last) = missing.iter().map(|leaf| leaf.number).max() else {
        return Ok(None);
    };
    let log = missing[0].log;
    let mut known: Vec<(u64, EntryId)> = Vec::new();
    for named in shown {
        let ids = attached_at(&log, named.0, holdings)?;
        let ids = ids.into_iter().filter(|id| id.short() == named.1);
        known.extend(ids.map(|id| (named.0, id)));
    }
    let mut below = u64::MAX;
    if forked.contains(&log) {
        for leaf in missing {
            below = below.min(highest_common(leaf, &known, holdings)?);
        }
    } else {
        // One branch: whatever the peer is shown to have of it is an ancestor, or follows.
        below = known.iter().map(|(number, _)| *number).max().unwrap_or(0);
    }
    if below >= last {
        return Ok(None);
    }
    Ok(Some(Stretch {
        log: Some(log),
        next: below + 1,
        last,
        shown: shown.to_vec(),
        ids: VecDeque::new(),
    }))
}

/// Number of the highest entry that the leaf and one of the known entries both are or follow; 0 if
/// there is none.
fn highest_common(
    leaf: &Leaf,
    known: &[(u64, EntryId)],
    holdings: &dyn Holdings,
) -> Result<u64, HoldingsError> {
    // Walks down from all of them at once, always from the highest number; for each entry, whether
    // the leaf led there, and whether a known one did.
    let mut at: BTreeMap<(u64, EntryId), (bool, bool)> = BTreeMap::new();
    at.insert((leaf.number, leaf.id), (true, false));
    for place in known {
        at.entry(*place).or_default().1 = true;
    }
    for _ in 0..WALK_MAX {
        let Some(((number, id), (by_leaf, by_known))) = at.pop_last() else {
            break;
        };
        if by_leaf && by_known {
            return Ok(number);
        }
        if by_leaf && !at.values().any(|(_, by_known)| *by_known) {
            break;
        }
        let entry = holdings.entry(&id)?.filter(|_| number > 1);
        if let Some(entry) = entry {
            let below = at.entry((number - 1, entry.header().previous)).or_default();
            below.0 |= by_leaf;
            below.1 |= by_known;
        }
    }
    Ok(0)
}

fn by_tag(salt: &[u8; 8], leaves: Vec<Leaf>) -> BTreeMap<Tag, Vec<Leaf>> {
    let mut out: BTreeMap<Tag, Vec<Leaf>> = BTreeMap::new();
    for leaf in leaves {
        out.entry(tag(salt, &leaf.log)).or_default().push(leaf);
    }
    out
}

/// What stands for a log in this session's lists.
fn tag(salt: &[u8; 8], log: &LogId) -> Tag {
    first_8(hash::derive(
        hash::LEAF_TAG_CONTEXT,
        &[
            salt,
            &log.scope.0,
            &[log.lane.as_byte()],
            &log.device.0,
            &log.incarnation.0,
        ],
    ))
}

fn all_buckets() -> BTreeSet<u8> {
    (0..=u8::MAX).collect()
}

/// A hash for each bucket over its lines, sorted; zeros for an empty one.
fn bucket_hashes(lines: &[LeafLine]) -> Vec<[u8; 8]> {
    let mut sorted = lines.to_vec();
    sorted.sort_unstable();
    let mut out = vec![[0; 8]; limits::LEAF_BUCKETS];
    for bucket in sorted.chunk_by(|a, b| a.tag[0] == b.tag[0]) {
        let mut bytes = Vec::with_capacity(bucket.len() * 24);
        for line in bucket {
            bytes.extend_from_slice(&line.tag);
            bytes.extend_from_slice(&line.number.to_be_bytes());
            bytes.extend_from_slice(&line.id);
        }
        out[bucket[0].tag[0] as usize] =
            first_8(hash::derive(hash::LEAF_BUCKET_CONTEXT, &[&bytes]));
    }
    out
}
