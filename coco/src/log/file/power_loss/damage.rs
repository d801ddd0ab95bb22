//! Damage to what is on the disk: flipped bits, lost and misdirected writes, lying lengths, files that
//! lost their end or are gone.
//!
//! Opening must answer as the format says (read a second time by `reference`), and whatever the format
//! says: a shorter log only if no whole frame of a later batch is left to prove that more was durable;
//! a refusal changes nothing.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "any other refusal is wrong here"
)]

use super::super::sim_folder::{Random, SimFolder};
use super::super::*;
use super::reference::{self, Reading};
use super::sabotage::{Bug, Sabotaged};
use super::world::{Counts, options, owner};

type Files = Vec<(String, Vec<u8>)>;

/// Damages a copy of the folder and opens that.
///
/// # Errors
///
/// What was violated.
pub(super) fn check(
    folder: &SimFolder,
    bug: Option<Bug>,
    random: &mut Random,
    counts: &mut Counts,
) -> Result<(), String> {
    let before: Files = segments(folder.files());
    let Reading::Records(first, sound) = reference::read(&before) else {
        return Err("the log is damaged before anybody damaged it".to_owned());
    };
    if before.is_empty() {
        return Ok(());
    }
    let mut after = before.clone();
    let what = damage(&mut after, random);
    let copy = SimFolder::holding(&after);
    let opened: Box<dyn Folder> = match bug {
        None => Box::new(copy.clone()),
        Some(bug) => Box::new(Sabotaged::new(copy.clone(), bug)),
    };
    counts.damaged += 1;
    let describe = |problem: String| format!("{what}: {problem}");
    let found = match FileLog::assemble(opened, &owner(), &options()) {
        Ok((log, _, records)) => {
            let first = log.shared.segments.lock().unwrap()[0].0;
            Reading::Records(first, records)
        }
        Err(error) => {
            if copy.files() != after {
                return Err(describe("a refusal changed the disk".to_owned()));
            }
            counts.damage_refused += 1;
            match error {
                OpenError::Corrupt { lsn: Some(_), .. } => Reading::Corrupt,
                OpenError::Gap { .. } => Reading::Gap,
                OpenError::Corrupt { lsn: None, .. }
                | OpenError::NotALog { .. }
                | OpenError::NotOurs { .. }
                | OpenError::NewerVersion { .. } => Reading::Header,
                other => return Err(describe(format!("refused by {other}"))),
            }
        }
    };
    if let Reading::Records(begin, records) = &found {
        let lost = sound.len().saturating_sub(records.len());
        counts.damage_in_the_last_batch += u64::from(lost > 0);
        if *begin != first || sound[..records.len().min(sound.len())] != records[..] {
            return Err(describe("records that nobody appended".to_owned()));
        }
        let next = first + records.len() as u64;
        if lost > 0 && is_proven(&before, &after, next) {
            return Err(describe(format!(
                "#{next} was durable, and was dropped in silence"
            )));
        }
    }
    let expected = reference::read(&after);
    if found != expected {
        return Err(describe(format!(
            "the format says {expected}, and the log {found}"
        )));
    }
    Ok(())
}

fn segments(files: Files) -> Files {
    files
        .into_iter()
        .filter(|(name, _)| name.ends_with(".seg"))
        .collect()
}

/// Whether a frame that was whole and still is proves that record `lsn` had been durable.
fn is_proven(before: &Files, after: &Files, lsn: u64) -> bool {
    before.iter().any(|(name, old)| {
        let Some((_, new)) = after.iter().find(|(other, _)| other == name) else {
            return false;
        };
        let header_stands = new.get(..4096) == old.get(..4096);
        let (frames, _) = reference::frames(old);
        header_stands
            && frames.iter().any(|frame| {
                let bytes = frame.start..frame.end;
                frame.batch > lsn && new.get(bytes.clone()) == Some(&old[bytes])
            })
    })
}

/// Damages one place, and says how.
fn damage(files: &mut Files, random: &mut Random) -> String {
    let number = random.below(files.len());
    let kind = random.below(9);
    if kind == 0 && number > 0 && number + 1 < files.len() {
        let (name, _) = files.remove(number);
        return format!("{name} is gone");
    }
    let donor = files[random.below(files.len())].1.clone();
    let (name, bytes) = &mut files[number];
    let (frames, end) = reference::frames(bytes);
    // Mostly where something is.
    let used = if random.once_in(6) {
        bytes.len()
    } else {
        (end + 24).min(bytes.len())
    };
    let place = if random.once_in(6) {
        random.below(used)
    } else {
        4096 + random.below(used - 4096)
    };
    let some_frame = (!frames.is_empty()).then(|| frames[random.below(frames.len())].clone());
    let what = match (kind, some_frame) {
        (1, Some(frame)) => {
            let lie = [0, 1, 15, 16, 17, 1 << 10, 1 << 20, 1 << 31, u32::MAX][random.below(9)];
            bytes[frame.start + 4..frame.start + 8].copy_from_slice(&u32::to_le_bytes(lie));
            format!("a length of {lie} in #{}", frame.lsn)
        }
        (2, Some(frame)) => {
            // A write that went astray, to the place where the next frame is due.
            let stale = bytes[frame.start..frame.end].to_vec();
            let length = stale.len().min(bytes.len() - end);
            bytes[end..end + length].copy_from_slice(&stale[..length]);
            format!("#{} once more at {end}", frame.lsn)
        }
        (3, Some(frame)) => {
            let to = frames[random.below(frames.len())].clone();
            let length = (frame.end - frame.start).min(to.end - to.start);
            bytes.copy_within(frame.start..frame.start + length, to.start);
            format!("#{} over #{}", frame.lsn, to.lsn)
        }
        (4, _) => {
            bytes.truncate(place);
            format!("{place} bytes left")
        }
        (5, _) => {
            let sector = place / 512 * 512;
            let length = 512.min(bytes.len() - sector);
            bytes[sector..sector + length].fill(0);
            format!("a lost sector at {sector}")
        }
        (6, _) => {
            let (from, to) = (random.below(donor.len() / 512) * 512, place / 512 * 512);
            let length = 512.min(donor.len() - from).min(bytes.len() - to);
            bytes[to..to + length].copy_from_slice(&donor[from..from + length]);
            format!("a misdirected sector from {from} at {to}")
        }
        _ => {
            let bit = random.below(8);
            bytes[place] ^= 1 << bit;
            format!("bit {bit} of byte {place} flipped")
        }
    };
    format!("{name}: {what}")
}
