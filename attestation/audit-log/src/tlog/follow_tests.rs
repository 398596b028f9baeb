use super::*;
use crate::log::encode_entry;
use crate::note::Signer;
use crate::tlog::tiles::Tiler;
use crate::{BootId, Event, EventType, Hash, Origin, Outcome, Stamp};
use std::collections::BTreeSet;
use std::convert::Infallible;

const BOOT: BootId = BootId::new([6; 16]);

fn signer(name: &str) -> Signer {
    Signer::from_seed(Origin::new(name).unwrap(), &[5; 32]).unwrap()
}

fn leaf(seq: u64, kind: EventType) -> Vec<u8> {
    let at = Stamp { wall_ns: 1_800_000_000_000_000_000, mono_ns: seq };
    encode_entry(&Event::new(kind, Outcome::Success, at), seq, BOOT).unwrap()
}

/// A log as files, each of its sizes with a checkpoint.
struct Files {
    leaves: Vec<Vec<u8>>,
    changed: Option<(Tile, Vec<u8>)>,
    asked: BTreeSet<Tile>,
}

impl Files {
    fn of(leaves: Vec<Vec<u8>>) -> Self {
        Self { leaves, changed: None, asked: BTreeSet::new() }
    }

    fn with(count: u64) -> Self {
        Self::of((0..count).map(|seq| leaf(seq, EventType::LogExport)).collect())
    }

    fn note(&self, size: usize) -> Vec<u8> {
        let leaves = self.leaves[..size].iter();
        let frontier: Frontier = leaves.map(|leaf| merkle::leaf_hash(leaf)).collect();
        Checkpoint::new("acme/1", frontier.head()).sign(&signer("acme/1")).unwrap()
    }

    fn read(&mut self, wanted: Tile) -> Vec<u8> {
        self.asked.insert(wanted);
        if let Some((tile, content)) = &self.changed
            && *tile == wanted
        {
            return content.clone();
        }
        // The log at the size at which its tile was as wide.
        let width = usize::from(wanted.width());
        let first = usize::try_from(wanted.index()).unwrap() * 256 + width;
        let size = match wanted.kind() {
            TileKind::Entries => first,
            TileKind::Hashes { level } => first << (8 * u32::from(level)),
        };
        let (mut tiler, mut found) = (Tiler::new(), None);
        let mut keep = |tile, content: &[u8]| -> Result<(), TileError> {
            if tile == wanted {
                found = Some(content.to_vec());
            }
            Ok(())
        };
        for leaf in &self.leaves[..size] {
            tiler.push(leaf, &mut keep).unwrap();
        }
        tiler.partial(&mut keep).unwrap();
        found.unwrap()
    }
}

type Followed = Result<Vec<u64>, FollowError<Infallible>>;

fn follow(follower: &mut Follower, files: &mut Files, size: usize) -> Followed {
    let note = files.note(size);
    let mut given = Vec::new();
    follower.take(
        &note,
        |tile| Ok(files.read(tile)),
        |entry| {
            given.push(entry.seq);
            Ok(())
        },
    )?;
    Ok(given)
}

fn follower() -> Follower {
    Follower::new(signer("acme/1").key().clone())
}

#[test]
fn gives_each_entry_once_in_order_at_every_growth() {
    let mut files = Files::with(600);
    let sizes = [0, 1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 600];
    for (at, &first) in sizes.iter().enumerate() {
        let mut kept = follower();
        let given = follow(&mut kept, &mut files, first).unwrap();
        assert_eq!(given, (0..first as u64).collect::<Vec<_>>());
        for &second in &sizes[at..] {
            let wanted: Vec<_> = (first as u64..second as u64).collect();
            assert_eq!(
                follow(&mut kept.clone(), &mut files, second),
                Ok(wanted.clone()),
                "{first} to {second}"
            );
            let key = signer("acme/1").key().clone();
            let mut resumed = Follower::after(key, kept.note().unwrap()).unwrap();
            assert_eq!(follow(&mut resumed, &mut files, second), Ok(wanted), "after {first} to {second}");
        }
    }
}

#[test]
fn a_long_log_is_proven_round_by_round() {
    let mut files = Files::with(5000);
    let mut follower = follower();
    assert_eq!(follow(&mut follower, &mut files, 5000).unwrap().len(), 5000);
    let level = |level| files.asked.iter().any(|tile| tile.kind() == TileKind::Hashes { level });
    assert!(level(0) && level(1), "{:?}", files.asked);
}

#[test]
fn nothing_is_given_of_a_round_with_a_changed_entry() {
    let honest = Files::with(300);
    for changed in [0, 255, 256, 299] {
        let mut leaves = honest.leaves.clone();
        leaves[changed] = leaf(changed as u64, EventType::LogAnchor);
        let mut other = Files::of(leaves);
        let tile = Tile::of_tree(TileKind::Entries, changed as u64 / 256, 300).unwrap();
        let content = other.read(tile);
        let mut files = Files { changed: Some((tile, content)), ..Files::with(0) };
        files.leaves = honest.leaves.clone();
        assert_eq!(
            follow(&mut follower(), &mut files, 300),
            Err(FollowError::Root { size: 300 }),
            "{changed}"
        );
    }
    let mut files = Files::with(5000);
    let tile = Tile::of_tree(TileKind::Entries, 3, 5000).unwrap();
    let mut content = files.read(tile);
    *content.last_mut().unwrap() ^= 1;
    files.changed = Some((tile, content));
    assert_eq!(follow(&mut follower(), &mut files, 5000), Err(FollowError::Root { size: 5000 }));
}

#[test]
fn case_29_a_log_that_forked_or_went_back_is_refused() {
    let mut files = Files::with(300);
    let mut kept = follower();
    follow(&mut kept, &mut files, 270).unwrap();
    let mut resumed = Follower::after(signer("acme/1").key().clone(), kept.note().unwrap()).unwrap();
    let mut leaves = files.leaves.clone();
    leaves[10] = leaf(10, EventType::LogAnchor);
    let mut fork = Files::of(leaves);
    for follower in [&mut kept, &mut resumed] {
        let seen = follower.note().map(<[u8]>::to_vec);
        let shrunk = FollowError::Shrunk { seen: 270, observed: 269 };
        assert_eq!(follow(follower, &mut files, 269), Err(shrunk));
        let two = FollowError::Inconsistent(ConsistencyError::Equivocation { size: 270 });
        assert_eq!(follow(follower, &mut fork, 270), Err(two));
        assert_eq!(follower.note(), seen.as_deref());
    }
    assert_eq!(follow(&mut kept, &mut fork, 300), Err(FollowError::Root { size: 300 }));
    let other = FollowError::Inconsistent(ConsistencyError::NotProven(ProofError::RootMismatch));
    assert_eq!(follow(&mut resumed, &mut fork, 300), Err(other));
    // The honest log can be followed on.
    assert_eq!(follow(&mut kept, &mut files, 300).unwrap().len(), 30);
}

#[test]
fn case_29_a_log_that_forks_while_it_is_caught_up_with_is_refused() {
    let mut files = Files::with(5000);
    let mut leaves = files.leaves.clone();
    leaves[4000] = leaf(4000, EventType::LogAnchor);
    let mut fork = Files::of(leaves);
    let (mut kept, mut given) = (follower(), 0);
    let note = files.note(4500);
    let cut = kept.take(
        &note,
        |tile| match tile.kind() {
            TileKind::Entries if tile.index() == 8 => Err("gone"),
            _ => Ok(files.read(tile)),
        },
        |_| {
            given += 1;
            Ok(())
        },
    );
    assert_eq!((cut, given, kept.note()), (Err(FollowError::Source("gone")), 2048, None));
    let other = FollowError::Inconsistent(ConsistencyError::NotProven(ProofError::RootMismatch));
    assert_eq!(follow(&mut kept.clone(), &mut fork, 5000), Err(other));
    let rest = follow(&mut kept, &mut files, 5000).unwrap();
    assert!(rest.first().is_some_and(|first| *first <= 2048) && rest.last() == Some(&4999), "{}", rest.len());
    assert!(kept.note().is_some());
}

#[test]
fn refuses_another_log_another_key_and_what_are_no_tiles() {
    let head = TreeHead { size: 0, root: Hash::of(b"") };
    let other = Checkpoint::new("acme/2", head).sign(&signer("acme/2")).unwrap();
    let mut given = follower();
    let taken: Result<(), FollowError<Infallible>> = given.take(&other, |_| Ok(Vec::new()), |_| Ok(()));
    assert!(matches!(taken, Err(FollowError::Checkpoint(_))));
    let key = signer("acme/1").key().clone();
    assert!(Follower::after(key, &other).is_err());
    let mut files = Files::with(3);
    let tile = Tile::of_tree(TileKind::Entries, 0, 3).unwrap();
    let whole = files.read(tile);
    for content in [Vec::new(), whole[..whole.len() - 1].to_vec(), [whole.as_slice(), &[0, 0]].concat()] {
        files.changed = Some((tile, content));
        let wrong = FollowError::Tile(TileError::Width { wanted: 3 });
        assert_eq!(follow(&mut follower(), &mut files, 3), Err(wrong));
    }
}

#[test]
fn refuses_what_its_signer_put_where_no_entry_is() {
    let mut files = Files::of(vec![leaf(0, EventType::LogOpen), leaf(2, EventType::LogExport)]);
    assert_eq!(follow(&mut follower(), &mut files, 2), Err(FollowError::Entry { index: 1, error: None }));
    let mut files = Files::of(vec![b"{}".to_vec()]);
    let wrong = FollowError::Entry { index: 0, error: Some(EntryError::Malformed) };
    assert_eq!(follow(&mut follower(), &mut files, 1), Err(wrong));
}

#[test]
fn what_the_taker_says_ends_it_and_the_checkpoint_is_not_taken() {
    let mut files = Files::with(3);
    let note = files.note(3);
    let mut follower = follower();
    let taken = follower.take(
        &note,
        |tile| Ok(files.read(tile)),
        |entry| if entry.seq < 1 { Ok(()) } else { Err("full") },
    );
    assert_eq!((taken, follower.note()), (Err(FollowError::Source("full")), None));
}
